#!/usr/bin/env bash
# Makes .setup/oip/CLIENT for each CLIENT that is named: a Python with that client of the
# Open Inference Protocol, of the versions that CLIENT.txt pins. The two cannot be in one:
# each brings the protocol's messages under the same names. What is there already, of the
# same pins, is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

for client in "$@"; do
	pins=scripts/oip/$client.txt
	home=.setup/oip/$client
	if cmp -s "$pins" "$home/pins.txt" && [ -x "$home/bin/python" ]; then
		continue
	fi
	rm -rf "$home"
	python3 -m venv "$home"
	"$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement "$pins"
	cp "$pins" "$home/pins.txt"
	echo "$client is in $home"
done
