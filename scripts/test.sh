#!/usr/bin/env bash
# Runs all tests, prints each package's line as it ends, and at the end what they measured.
# Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'kill "${commands:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
export DISTINFER_TEST_REPORT=$work/report

# Without paths, so that a fresh clone finds in the cache what another has compiled. Results are
# not taken from there: go does not see that the files differ which a test found by the other
# folder's path. `make lint` vets.
build=(-trimpath -vet=off -count=1)
race() { go test "${build[@]}" -race -timeout 45m -parallel "$((2 * $(nproc)))" "$@" | grep --line-buffered -v 'no test files'; }

# The tests of the commands start processes and mostly wait for them: they run beside all others.
race "$@" ./cmd/... >"$work/commands" 2>&1 &
commands=$!
failed=0
# What is compared with other implementations is much, and needs no race detector.
go test "${build[@]}" "$@" ./runtime/text || failed=1
race "$@" $(go list ./... | grep -v -e '/cmd/' -e '/server/stage$') || failed=1
wait "$commands" || failed=1
cat "$work/commands"
# Its tests tell the dead from the slow by seconds of silence, so nothing else runs beside them.
race "$@" ./server/stage || failed=1

if [ -s "$work/report" ]; then
	printf '\nMeasured on the way:\n'
	sort "$work/report" | sed 's/^/  /'
fi
exit "$failed"
