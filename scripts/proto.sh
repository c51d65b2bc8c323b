#!/usr/bin/env bash
# Writes stage.pb.go from stage.proto, with the protoc that grpcio-tools carries.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.setup/proto
if [ ! -x $venv/bin/python ]; then
	python3 -m venv $venv
	$venv/bin/pip install --quiet --disable-pip-version-check grpcio-tools==1.85.1
fi
PATH=$PWD/.setup/bin:$PATH $venv/bin/python -m grpc_tools.protoc \
	-Iserver/stage/stagepb --go_out=server/stage/stagepb --go_opt=paths=source_relative stage.proto
