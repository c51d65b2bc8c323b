#!/usr/bin/env bash
# Makes .setup/interop: a Python with gRPC and its code generator, of the versions
# that requirements.txt pins. What is there already, of the same pins, is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

pins=scripts/interop/requirements.txt
home=.setup/interop
if cmp -s $pins $home/requirements.txt && [ -x $home/bin/python ]; then
	exit 0
fi
rm -rf $home
python3 -m venv $home
$home/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
	--require-hashes --requirement $pins
cp $pins $home/requirements.txt
echo "Python's gRPC is in $home"
