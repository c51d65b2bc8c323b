#!/usr/bin/env bash
# Runs the program for arm64 and the core of its tests on this machine, by Debian's qemu-user, on the
# C library of the image. QUICK=1 leaves the tests out.
. "$(dirname "$0")/lib.sh"

root=$WORK/root
mkdir "$root"
python3 - "$(one 'distinfer-*-image.tar')" "$root" <<'P'
import io, json, sys, tarfile

archive = tarfile.open(sys.argv[1])
read = lambda name: archive.extractfile(name).read()
blob = lambda d: read("blobs/" + d["digest"].replace(":", "/"))
(entry,) = json.loads(read("index.json"))["manifests"]
(image,) = (d for d in json.loads(blob(entry))["manifests"] if d["platform"]["architecture"] == "arm64")
base = json.loads(blob(image))["layers"][0]
tarfile.open(fileobj=io.BytesIO(blob(base))).extractall(sys.argv[2])
P
# ONNX Runtime reads what kind of processor there is, and ends at that of another architecture; what
# lies below -L is read instead.
mkdir -p "$root/proc" "$root/sys/devices/system/cpu"
for n in 0 1; do
	printf 'processor\t: %s\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n' $n
done >"$root/proc/cpuinfo"
for list in present possible online; do echo 0-1 >"$root/sys/devices/system/cpu/$list"; done
emulator=(qemu-aarch64 -cpu cortex-a72 -L "$root")
mkdir "$WORK/unpacked"
tar -xzf "$(one 'distinfer-*-linux-arm64.tar.gz')" -C "$WORK/unpacked" --strip-components=1
cd "$WORK/unpacked"
program=("${emulator[@]}" ./distinfer)
version=$("${program[@]}" version -o json)
has version '"platform":"linux/arm64".*"onnxruntime":".*"installation":"archive"' "$version"
begin=$SECONDS
"${program[@]}" split models/sst2-minilm/model.onnx --stages 2 --no-verify >/dev/null
echo "split: $((SECONDS - begin)) s emulated"
is answers "positive negative" "$(printf 'a moving film, full of quiet humour\na waste of time\n' | "${program[@]}" predict | cut -f1 | xargs)"

[ -z "${QUICK:-}" ] || exit 0
cd "$ROOT"
python=$(cd .setup/dist/bin && pwd -P)/python
export CGO_ENABLED=1 GOOS=linux GOARCH=arm64 CC="$python -m ziglang cc -target aarch64-linux-gnu.2.28"
export DISTINFER_ONNXRUNTIME=$WORK/unpacked/lib/libonnxruntime.so
for package in runtime/tensor runtime/text split/onnxfile split/plan split/graph split runtime/ort; do
	go test -trimpath -vet=off -c -o "$WORK/test" "./$package"
	begin=$SECONDS
	(cd "$package" && "${emulator[@]}" "$WORK/test" -test.short -test.timeout 20m >"$WORK/log" 2>&1) || { tail -30 "$WORK/log" >&2; exit 1; }
	echo "$package: $(tail -1 "$WORK/log") in $((SECONDS - begin)) s emulated"
done
