#!/bin/bash
# Installs the chart on a one-node Kubernetes of its own, disturbs it while texts are asked, and
# prints what became of the requests. Leaves nothing running. Arguments go to the check command.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export K8S_DIR=$(realpath -m "$root/.setup")/kubernetes
export DISTINFER_ONNXRUNTIME=$root/.setup/onnxruntime/libonnxruntime.so
[ "$(id -u)" = 0 ] || { echo "namespaces and control groups need root: sudo make test-kubernetes" >&2; exit 1; }
[ "$(uname -m)" = x86_64 ] || { echo "the node's programs are for amd64" >&2; exit 1; }
cd "$root"

bash "$here/build.sh"
rm -rf "$K8S_DIR/dist"
make --no-print-directory dist ARCH=amd64 ARGS="-only image -local -image-name lab.local/distinfer -out $K8S_DIR/dist"
mkdir -p "$K8S_DIR/images" "$K8S_DIR/models"
mv "$K8S_DIR"/dist/*-image.tar "$K8S_DIR/images/distinfer.tar"
for m in a=sst2-minilm b=seed-rnn; do
	bin/distinfer split "models/${m#*=}/model.onnx" --stages 2 --out "$K8S_DIR/models/${m%=*}" --force 2>/dev/null
done
CGO_ENABLED=0 go -C "$here/check" build -o "$K8S_DIR/bin/check" .
gunzip -c "$here/crds.json.gz" >"$K8S_DIR/crds.json"

trap '"$here/down.sh"' EXIT
"$here/up.sh"
"$here/enter.sh" kubectl apply --server-side -f "$K8S_DIR/crds.json" >/dev/null
image=$("$here/enter.sh" ctr image ls -q | grep '^lab.local/distinfer:' | head -1)
"$here/enter.sh" "$K8S_DIR/bin/check" -chart deploy/helm/distinfer -image "$image" -models "$K8S_DIR/models" "$@"
