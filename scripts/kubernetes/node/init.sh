#!/bin/bash
# PID 1 of the lab's namespaces (mount, net, pid, cgroup). Args: D (lab folder). Everything it makes dies with it.
set -euo pipefail
D=$1; S=$D/state; L=$D/logs; export PATH=$D/bin:$D/wrap:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount --make-rprivate /
umount -R -l /sys/fs/cgroup 2>/dev/null || true   # only this namespace's view of them
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for c in cpu cpuacct cpuset memory devices freezer blkio pids; do mkdir -p /sys/fs/cgroup/$c; mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c; done
mkdir -p /sys/fs/cgroup/systemd; mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/xtables
mount --make-rshared /
# the kubelet wants these kernel settings: give it private files, not the machine's own
i=0; for kv in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  i=$((i+1)); echo "${kv#*=}" > /run/sysctl.$i; mount --bind /run/sysctl.$i /proc/sys/${kv%%=*}; done
ip link set lo up
ip link add eth0 type veth peer name up0
ip addr add 10.10.0.2/24 dev eth0; ip link set up0 up; ip link set eth0 up; ip route add default via 10.10.0.1 dev eth0 onlink 2>/dev/null || ip route add default dev eth0
# answer for the pretend gateway, so that locally made packets for a ClusterIP have a next hop before they are rewritten
ip neigh replace 10.10.0.1 lladdr "$(cat /sys/class/net/up0/address)" dev eth0
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 || true
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables || true
hostname k8s-lab-node 2>/dev/null || true
touch /run/ready
run() { local n=$1; shift; (cd $S; exec setsid "$@" >>$L/$n.log 2>&1 </dev/null) & echo "$n $!" >> /run/procs; }
. $D/node/daemons.sh
touch /run/started
trap 'exit 0' TERM
while :; do sleep 3600 & wait $! || true; done
