#!/bin/bash
# Starts the node that build.sh built, in namespaces and control groups of its own, and waits until
# it serves. Archives of images in $K8S_DIR/images are imported. down.sh ends it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export K8S_DIR=${K8S_DIR:-$(realpath -m "$here/../../.setup")/kubernetes}
D=$K8S_DIR S=$K8S_DIR/state
if [ -f "$S/init.pid" ] && kill -0 "$(cat "$S/init.pid")" 2>/dev/null; then
	echo "already up"
	exit 0
fi
began=$(date +%s)
mkdir -p "$S" "$D/images" "$D/logs"
rm -rf "$D/node"
cp -r "$here/node" "$D/node"
bash "$D/node/config.sh" "$D"
bash "$D/node/pki.sh" "$S/pki"
cp "$D/node/coredns.yaml" "$S/coredns.yaml"
for b in containerd containerd-shim-runc-v2 ctr etcd; do ln -sf "$D/deb/usr/bin/$b" "$D/wrap/$b"; done
for name in pause coredns metrics-server; do
	[ -x "$D/bin/$name" ] || continue
	[ "$D/images/$name.tar" -nt "$D/bin/$name" ] || python3 "$here/mkimage.py" "lab.local/$name:1" "$D/images/$name.tar" "[\"/$name\"]" "$D/bin/$name=/$name"
done

# Control groups (version 1) below this process's, then namespaces.
# shellcheck disable=SC2016
nohup bash -c '
	D=$1
	for c in cpu cpuacct cpuset devices freezer blkio pids systemd memory; do
		own=$(awk -F: -v c=$c '\''$2==c || $2=="name="c {print $3}'\'' /proc/self/cgroup)
		p=/sys/fs/cgroup/$c${own%/}/distinfer-kubernetes
		mkdir -p $p
		echo $p
		if [ $c = cpuset ]; then for f in cpuset.cpus cpuset.mems; do cat /sys/fs/cgroup/cpuset$own/$f >$p/$f; done; fi
		echo $$ >$p/cgroup.procs
	done >$D/state/cgroups
	exec unshare -m -n -p -C -u -i -f bash $D/node/init.sh $D
' _ "$D" >"$D/logs/init.log" 2>&1 </dev/null &
parent=$!
for _ in $(seq 100); do
	pid=$(pgrep -P $parent -f node/init.sh || true)
	[ -z "$pid" ] || break
	sleep 0.1
done
echo "$pid" >"$S/init.pid"

E=$here/enter.sh
await() {
	for _ in $(seq 600); do
		! "$@" >/dev/null 2>&1 || return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.5
	done
	echo "the node does not get up: $*; its logs are in $D/logs" >&2
	exit 1
}
await "$E" kubectl get --raw /readyz
await "$E" kubectl -n default get serviceaccount default
await "$E" kubectl get node lab
"$E" kubectl create clusterrolebinding lab-proxy --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null 2>&1 || true
"$E" kubectl apply -f "$S/coredns.yaml" -f "$here/node/metrics-server.yaml" >/dev/null
"$E" kubectl wait node/lab --for=condition=Ready --timeout=180s >/dev/null
"$E" kubectl -n kube-system rollout status deployment/coredns --timeout=180s >/dev/null
echo "Kubernetes is up after $(($(date +%s) - began)) s: $E kubectl get pods -A"
