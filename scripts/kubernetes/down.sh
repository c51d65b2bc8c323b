#!/bin/bash
# Ends the node: all its processes and mounts go with its namespaces, then its control groups.
D=${K8S_DIR:-$(realpath -m "$(dirname "$0")/../../.setup")/kubernetes}
S=$D/state
if [ -f "$S/init.pid" ]; then
	pid=$(cat "$S/init.pid")
	if grep -qs node/init.sh "/proc/$pid/cmdline"; then
		kill -KILL "$pid"
		for _ in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
	fi
fi
if [ -f "$S/cgroups" ]; then
	while read -r p; do
		case $p in */distinfer-kubernetes) ;; *) continue ;; esac
		for _ in $(seq 50); do
			[ -d "$p" ] || break
			find "$p" -depth -type d -exec rmdir {} + 2>/dev/null
			[ ! -d "$p" ] || sleep 0.1
		done
		[ ! -d "$p" ] || echo "left: $p"
	done <"$S/cgroups"
fi
rm -rf "$S"
