# What the checks share; sourced. DIST is the folder with the release.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
ROOT=$PWD
DIST=${DIST:-$ROOT/dist}
MODEL=$ROOT/models/sst2-minilm/model.onnx
WORK=$(mktemp -d /tmp/distinfer-check-XXXXXX)
ended=()

# at_end CMD…: run a command when the check ends, the latest first.
at_end() { ended=("$(printf '%q ' "$@")" "${ended[@]}"); }
finish() {
	local status=$? command
	for command in "${ended[@]}"; do eval "$command" >/dev/null 2>&1 || true; done
	rm -rf "$WORK"
	[ $status = 0 ] && echo "$(basename "$0" .sh): right, ${SECONDS} s" || echo "$(basename "$0" .sh): failed"
}
trap finish EXIT
trap 'echo "$0, line $LINENO: $BASH_COMMAND" >&2' ERR

# one PATTERN: the only file of the release that matches.
one() {
	local found=("$DIST"/$1)
	[ ${#found[@]} = 1 ] && [ -e "${found[0]}" ] || { echo "$DIST has no $1, or several; run make dist first" >&2; exit 1; }
	echo "${found[0]}"
}

# is WHAT WANT GOT
is() { [ "$2" = "$3" ] || { echo "$1: $3, not $2" >&2; exit 1; }; }

# has WHAT PATTERN TEXT
has() { grep -qE "$2" <<<"$3" || { echo "$1: no $2 in: $3" >&2; exit 1; }; }

# until_right SECONDS CMD…: repeat a command until it succeeds.
until_right() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "not within its time: $*" >&2; return 1; }
		sleep 0.5
	done
}

# debian_root: an archive of the root folder of a small Debian 12, made once.
debian_root() {
	local base=$ROOT/.setup/dist-root.tar
	if ! [ -e "$base" ]; then
		echo "making a root folder of Debian 12, once" >&2
		mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,adduser,curl,libstdc++6,procps bookworm "$base.part" >&2
		mv "$base.part" "$base"
	fi
	echo "$base"
}
