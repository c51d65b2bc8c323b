#!/usr/bin/env bash
# Makes .setup/NAME: a Python with the packages that PINS pins, a file of versions and
# hashes. What is there already, of the same pins, is kept. With BASE, packages that PINS
# does not name are those of .setup/BASE.
#
#     python-env.sh NAME PINS [BASE]
set -euo pipefail
cd "$(dirname "$0")/.."

pins=$2
home=.setup/$1
if cmp -s "$pins" "$home/requirements.txt" && [ -x "$home/bin/python" ]; then
	exit 0
fi
rm -rf "$home"
python3 -m venv "$home"
# Bytecode is made of what is imported, when it is.
"$home/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps --only-binary=:all: \
	--require-hashes --requirement "$pins"
if [ $# -gt 2 ]; then
	site=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	"$PWD/.setup/$3/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/base.pth"
fi
cp "$pins" "$home/requirements.txt"
echo "the Python of $pins is in $home"
