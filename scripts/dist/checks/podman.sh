# podman with images and settings of its own, which end with the check; sourced after lib.sh.
# Where the kernel lets nobody raise limits, these are low; runc knows control groups of version 1.
cat >"$WORK/containers.conf" <<C
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "$(command -v runc >/dev/null && echo runc || echo crun)"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$WORK/networks"
C
cat >"$WORK/storage.conf" <<C
[storage]
driver = "overlay"
graphroot = "$WORK/storage"
runroot = "$WORK/run"
C
mkdir "$WORK/networks"
export CONTAINERS_CONF=$WORK/containers.conf CONTAINERS_STORAGE_CONF=$WORK/storage.conf
at_end podman system reset --force
at_end podman rm --force --all --volumes

# load prints the name of the release's image, once it is there.
load() { podman load --quiet --input "$(one 'distinfer-*-image.tar')" | sed -n 's/^Loaded image: //p'; }
hardened=(podman run --rm --read-only --cap-drop=all --security-opt=no-new-privileges)
