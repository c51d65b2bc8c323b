#!/usr/bin/env bash
# Unpacks the archive on a Debian 12 that has no more than itself and libstdc++, and runs it there
# through a link, from another folder and without a network. Needs root, mmdebstrap, podman and runc.
. "$(dirname "$0")/lib.sh"
. scripts/dist/checks/podman.sh

archive=$(one "distinfer-*-linux-$(dpkg --print-architecture).tar.gz")
tar -tzf "$archive" | sed 's,^[^/]*/,,' >"$WORK/files"
for f in distinfer lib/libonnxruntime.so LICENSE distinfer.cdx.json systemd/distinfer.yaml models/sst2-minilm/model.onnx man/man1/distinfer.1 completions/_distinfer systemd/distinfer-stage@.service licences/onnxruntime/ThirdPartyNotices.txt licences/go/LICENSE licences/github.com/yalue/onnxruntime_go/LICENSE; do
	grep -qxF "$f" "$WORK/files" || { echo "the archive has no $f" >&2; exit 1; }
done
podman import --quiet "$(debian_root)" localhost/debian:12 >/dev/null
podman run --rm --interactive --network=none --volume="$archive:/a.tar.gz:ro" localhost/debian:12 bash -Eeuo pipefail <<'S'
ms() { echo "$1: $((($(date +%s%N) - begin) / 1000000)) ms"; }
begin=$(date +%s%N)
mkdir -p "/opt/a folder" /elsewhere
tar -xzf /a.tar.gz -C "/opt/a folder"
ms unpacked
du -sm "/opt/a folder" | sed 's/\t.*/ MB/'
ln -s "/opt/a folder"/distinfer-*/distinfer /usr/local/bin/distinfer
cd /elsewhere
distinfer version -o json | grep -q '"installation":"archive"'
distinfer version -o json | grep -q '"sbom":"/opt/a folder/distinfer-[^/]*/distinfer.cdx.json"'
begin=$(date +%s%N)
distinfer up "/opt/a folder"/distinfer-*/models/sst2-minilm --stages 2 >/log 2>&1 &
for _ in $(seq 200); do
	[ "$(curl -s 'localhost:8008/?text=a+moving+film')" = positive ] && break
	sleep 0.3
done
[ "$(curl -s 'localhost:8008/?text=a+moving+film')" = positive ] || { cat /log; exit 1; }
ms "first right answer"
kill $!
wait
cd "/opt/a folder"/distinfer-*
./distinfer split models/sst2-minilm --stages 2 >/dev/null
echo 'a moving film' | ./distinfer predict | grep -q positive
rm lib/libonnxruntime.so
(./distinfer version 2>&1 || true) | grep -q 'unpack the whole archive again'
S
