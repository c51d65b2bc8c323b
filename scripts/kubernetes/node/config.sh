#!/bin/bash
# config.sh DIR: writes the configuration of the node's daemons below DIR/state.
set -euo pipefail; D=$1; S=$D/state; mkdir -p $D/images $S/{cni,kubelet,etcd,containerd} $D/wrap
# Debian's programs run from where they were unpacked.
for t in nft conntrack runc ipset; do
  printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%s/deb/usr/lib/x86_64-linux-gnu\nexec %s/deb/usr/sbin/%s "$@"\n' $D $D $t > $D/wrap/$t
  chmod +x $D/wrap/$t
done
for t in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  printf '#!/bin/bash\nexport LD_LIBRARY_PATH=%s/deb/usr/lib/x86_64-linux-gnu XTABLES_LIBDIR=%s/deb/usr/lib/x86_64-linux-gnu/xtables\nexec -a %s %s/deb/usr/sbin/xtables-nft-multi "$@"\n' $D $D $t $D > $D/wrap/$t
  chmod +x $D/wrap/$t
done
cat > $S/containerd.toml <<E
version = 2
root = "$S/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab.local/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$D/deb/usr/lib/cni"
    conf_dir = "$S/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "$D/wrap/runc"
        SystemdCgroup = false
E
cat > $S/cni/10-lab.conflist <<E
{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"hairpinMode":true,"ipMasq":false,
 "ipam":{"type":"host-local","dataDir":"/run/cni-ipam","ranges":[[{"subnet":"10.244.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}
E
echo "search ." > $S/resolv.conf
cat > $S/kubelet.yaml <<E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: $S/resolv.conf
failSwapOn: false
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $S/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $S/pki/kubelet-server.crt
tlsPrivateKeyFile: $S/pki/kubelet-server.key
maxOpenFiles: 20000
evictionHard: {memory.available: 200Mi, nodefs.available: 2%, imagefs.available: 2%}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
registerNode: true
volumePluginDir: $S/kubelet/volumeplugins
podLogsDir: $S/podlogs
E
cat > $S/kube-proxy.yaml <<E
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $S/pki/kube-proxy.kubeconfig}
hostnameOverride: lab
clusterCIDR: 10.244.0.0/16
nodePortAddresses: [primary]
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
E
