#!/usr/bin/env bash
# Writes stage.pb.go from stage.proto, with the protoc that grpcio-tools carries.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/interop/setup.sh
PATH=$PWD/.setup/bin:$PATH .setup/interop/bin/python -m grpc_tools.protoc \
	-Iserver/stage/stagepb --go_out=server/stage/stagepb --go_opt=paths=source_relative stage.proto
