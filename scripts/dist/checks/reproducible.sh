#!/usr/bin/env bash
# Makes the release again, of the same commit in another folder and with an empty cache of compiled
# packages unless CACHE=1, and compares the bytes of every file.
. "$(dirname "$0")/lib.sh"

one SHA256SUMS >/dev/null
go -C scripts/dist test .
git clone --quiet --no-hardlinks . "$WORK/another/place/of-the-checkout"
cd "$WORK/another/place/of-the-checkout"
git checkout --quiet "$(git -C "$ROOT" rev-parse HEAD)"
mkdir .setup
# What is fetched, not what is made: Python with Zig, ONNX Runtime, and Debian's packages.
cp -a "$ROOT"/.setup/{dist,dist-onnxruntime,dist-debian,onnxruntime} .setup/
[ -n "${CACHE:-}" ] || export GOCACHE=$WORK/cache
kinds=$(cd "$DIST" && ls | sed -nE 's/.*\.tar\.gz$/archive/p; s/.*\.deb$/deb/p; s/.*\.whl$/wheel/p; s/.*-image\.tar$/image/p' | sort -u | paste -sd,)
arches=$(cd "$DIST" && ls | sed -nE 's/.*(amd64|arm64).*/\1/p' | sort -u | paste -sd,)
umask 077 # which is not to matter
export TMPDIR=$WORK
make dist ARCH="$arches" ARGS="-only $kinds -out $WORK/dist ${ARGS:-}" >/dev/null
diff "$DIST/SHA256SUMS" "$WORK/dist/SHA256SUMS"
echo "the same: $(wc -l <"$WORK/dist/SHA256SUMS") files"
