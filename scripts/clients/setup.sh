#!/usr/bin/env bash
# Makes .setup/clients: a Python with clients of the HTTP interface, of the versions
# that requirements.txt pins. What is there already, of the same pins, is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

pins=scripts/clients/requirements.txt
home=.setup/clients
if cmp -s $pins $home/requirements.txt && [ -x $home/bin/python ]; then
	exit 0
fi
rm -rf $home
python3 -m venv $home
$home/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
	--require-hashes --requirement $pins
cp $pins $home/requirements.txt
echo "the HTTP clients are in $home"
