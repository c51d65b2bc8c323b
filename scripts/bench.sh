#!/usr/bin/env bash
# Measures, one thing at a time: let nothing else run on the machine meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

go run ./bench/accuracy
echo
go run ./bench/footprint
echo
go run ./bench/overhead
echo
go run ./bench/profile
echo
go run ./bench/hop
echo
echo "Parts of a request"
go test -run '^$' -bench . -benchtime 1s ./runtime/text | grep -E '^(Benchmark|cpu)'
