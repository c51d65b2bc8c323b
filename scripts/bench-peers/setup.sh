#!/usr/bin/env bash
# Installs the servers that bench/peers measures beside distinfer into
# .setup/bench-peers, each in a virtual environment of its own, once. The pins are
# wheels for Python 3.11 on x86-64. What cannot be installed is no failure: why is
# left in NAME.failed, and bench/peers says so.
#
#     setup.sh NAME...
set -euo pipefail
cd "$(dirname "$0")/../.."

home=.setup/bench-peers
mkdir -p $home
for name in "$@"; do
	pins=scripts/bench-peers/$name.txt
	venv=$home/$name
	if cmp -s "$pins" "$venv/requirements.txt"; then
		continue
	fi
	echo "installing $name for comparison (some minutes, once)"
	rm -rf "$venv"
	if python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement "$pins"; then
		cp "$pins" "$venv/requirements.txt"
		rm -f "$home/$name.failed"
	else
		rm -rf "$venv"
	fi 2>"$home/$name.failed"
done
