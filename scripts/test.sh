#!/usr/bin/env bash
# Runs all tests, prints each package's line as it ends, and at the end what they measured.
# Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'kill "${commands:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
export DISTINFER_TEST_REPORT=$work/report
# A process with the race detector waits for a second before it ends, of which there are many.
export GORACE=atexit_sleep_ms=20

# Without paths, so that a fresh clone finds in the cache what another has compiled. Results are
# not taken from there: go does not see that the files differ which a test found by the other
# folder's path. `make lint` vets.
tests() { go test -trimpath -vet=off -count=1 -timeout 45m -parallel "$((2 * $(nproc)))" "$@" | grep --line-buffered -v 'no test files'; }

# The race detector slows down what computes up to tenfold. So it watches the packages in which
# there is something to see: the servers, and those that start goroutines, they or their tests.
# Of the tokenizers it watches a part, since they are compared with much. Readers of files have no
# goroutine but the end of a pipe in a test.
module=$(go list -m)
tested=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
starts='^[[:space:]]*go (func|[a-zA-Z.]+)\(|\.Go\('
racing=$({
	grep -rlE --include='*.go' "$starts" runtime split bench | xargs -n 1 dirname | sort -u | sed "s|^|$module/|"
	grep "^$module/server/" <<<"$tested"
} | grep -vxF -e "$module/server/stage" -e "$module/runtime/text" -e "$module/runtime/textfile" | grep -xF "$tested")
plain=$(grep -vxF -e "$racing" -e "$module/server/stage" <<<"$tested" | grep -v "^$module/cmd/")

# The tests of the commands start processes and mostly wait for them: they run beside all others.
tests -race "$@" ./cmd/... >"$work/commands" 2>&1 &
commands=$!
failed=0
# shellcheck disable=SC2086 # it is a list
tests -race "$@" $racing || failed=1
# shellcheck disable=SC2086
tests "$@" $plain || failed=1
tests -race "$@" -run '^TestFamilies$' ./runtime/text || failed=1
wait "$commands" || failed=1
cat "$work/commands"
# Its tests tell the dead from the slow by seconds of silence, so nothing else runs beside them.
tests -race "$@" ./server/stage || failed=1

if [ -s "$work/report" ]; then
	printf '\nMeasured on the way:\n'
	sort "$work/report" | sed 's/^/  /'
fi
exit "$failed"
