#!/usr/bin/env bash
# Loads the image into podman, and into a containerd where there is one, and runs it as a cluster
# would: no rights, nothing to write but its volume. Needs root and Debian's packages podman and runc.
. "$(dirname "$0")/lib.sh"
. scripts/dist/checks/podman.sh

IMAGE=$(load)
archive=$(one 'distinfer-*-image.tar')
python3 - "$archive" <<'P'
import hashlib, json, sys, tarfile

archive = tarfile.open(sys.argv[1])
files = {m.name: m for m in archive.getmembers()}
read = lambda name: archive.extractfile(files[name]).read()
blob = lambda d: read("blobs/" + d["digest"].replace(":", "/"))
for name in files:
    if name.startswith("blobs/"):
        assert hashlib.sha256(read(name)).hexdigest() == name.split("/")[-1], name
(entry,) = json.loads(read("index.json"))["manifests"]
index = json.loads(blob(entry))
for d in index["manifests"]:
    manifest = json.loads(blob(d))
    config = json.loads(blob(manifest["config"]))
    assert config["architecture"] == d["platform"]["architecture"]
    assert config["config"]["User"] == "65532:65532" and config["config"]["Entrypoint"] == ["/usr/bin/distinfer"]
    assert {"title", "version", "revision", "source", "licenses"} <= {k.split(".")[-1] for k in config["config"]["Labels"]}
    size = sum(layer["size"] for layer in manifest["layers"])
    print(f"{d['platform']['architecture']}: {size / 1e6:.1f} MB to fetch")
P
bytes=$(podman image inspect --format '{{.Size}}' "$IMAGE")
echo "unpacked: $((bytes / 1000000)) MB"
[ "$bytes" -lt 120000000 ]

version=$("${hardened[@]}" --network=none "$IMAGE" version -o json)
has version '"installation":"image"' "$version"
has version '"sbom":"/usr/share/distinfer/image.cdx.json"' "$version"
serve=("${hardened[@]}" --network=none --volume=state:/var/lib/distinfer --volume="$(dirname "$MODEL"):/model:ro")
"${serve[@]}" "$IMAGE" split /model --stages 2 >/dev/null
is answer positive "$(echo 'a moving film, full of quiet humour' | "${serve[@]}" --interactive "$IMAGE" predict | cut -f1)"
container=$(podman create "$IMAGE" version)
podman export "$container" | tar -tf - >"$WORK/files"
for f in etc/ssl/certs/ca-certificates.crt usr/share/zoneinfo/Europe/Berlin usr/share/doc/libc6/copyright usr/share/doc/gcc-14-base/copyright usr/share/doc/distinfer/licences/onnxruntime/ThirdPartyNotices.txt usr/share/doc/distinfer/licences/go/LICENSE; do
	grep -qx "$f" "$WORK/files" || { echo "the image has no $f" >&2; exit 1; }
done
is shells "" "$(grep -E 'bin/(ba|da)?sh$' "$WORK/files" || true)"

if command -v containerd >/dev/null; then
	printf 'version = 2\nroot = "%s/c/root"\nstate = "%s/c/state"\n[grpc]\naddress = "%s/c.sock"\n' "$WORK" "$WORK" "$WORK" >"$WORK/containerd.toml"
	containerd --config "$WORK/containerd.toml" >"$WORK/containerd.log" 2>&1 &
	at_end kill $!
	ctr=(ctr --address "$WORK/c.sock")
	until_right 20 "${ctr[@]}" version
	"${ctr[@]}" image import --all-platforms "$archive" >/dev/null
	has "containerd's images" "$(basename "${IMAGE%%:*}")" "$("${ctr[@]}" image ls -q)"
	has "in containerd" '"installation":"image"' "$("${ctr[@]}" run --rm --read-only "$("${ctr[@]}" image ls -q | head -1)" check-$$ /usr/bin/distinfer version -o json)"
else
	echo "there is no containerd: not tried there"
fi
