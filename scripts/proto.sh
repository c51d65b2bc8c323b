#!/usr/bin/env bash
# Writes the .pb.go file beside every .proto, with the protoc that grpcio-tools carries.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/python-env.sh interop scripts/interop/requirements.txt
for proto in server/stage/stagepb/stage.proto server/transfer/transferpb/transfer.proto server/oip/oippb/open_inference.proto; do
	dir=$(dirname $proto)
	PATH=$PWD/.setup/bin:$PATH .setup/interop/bin/python -m grpc_tools.protoc \
		-I$dir --go_out=$dir --go_opt=paths=source_relative "$(basename $proto)"
done
