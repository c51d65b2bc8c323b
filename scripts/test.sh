#!/usr/bin/env bash
# Runs all tests and prints what they measured on the way.
set -euo pipefail
cd "$(dirname "$0")/.."

report=$(mktemp)
trap 'rm -f "$report"' EXIT
# What is compared with other implementations is much, and needs no race detector.
go test "$@" ./runtime/text
DISTINFER_TEST_REPORT=$report go test -race -timeout 45m -parallel "$((2 * $(nproc)))" "$@" ./... | grep -v 'no test files'
if [ -s "$report" ]; then
	printf '\nMeasured on the way:\n'
	sort "$report" | sed 's/^/  /'
fi
