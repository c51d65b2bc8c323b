#!/bin/bash
# enter.sh COMMAND...: runs a command inside the node, with kubectl, helm and ctr on the path.
D=${K8S_DIR:-$(realpath -m "$(dirname "$0")/../../.setup")/kubernetes}
pid=$(cat "$D/state/init.pid") || exit 1
export K8S_DIR=$D KUBECONFIG=$D/state/pki/admin.kubeconfig PATH=$D/bin:$D/wrap:$PATH
export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io
exec nsenter -t "$pid" -m -n -p -C -u -i --wd="$PWD" -- "$@"
