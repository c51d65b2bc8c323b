#!/usr/bin/env bash
# Installs the tools that bench/split measures beside distinfer into
# .setup/bench-split, once. The tools pin an older onnx than the newest, so there
# are two sets.
set -euo pipefail
cd "$(dirname "$0")/../.."

for set in onnx tools; do
	pins=scripts/bench-split/$set.txt
	venv=.setup/bench-split/$set
	if cmp -s $pins $venv/requirements.txt; then
		continue
	fi
	rm -rf $venv
	python3 -m venv $venv
	$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement $pins
	cp $pins $venv/requirements.txt
done
