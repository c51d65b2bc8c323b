#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (default one minute).
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "$package $target"
		if ! output=$(go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-1m}" -fuzzminimizetime 10x 2>&1); then
			tail -n 40 <<<"$output"
			exit 1
		fi
		tail -n 2 <<<"$output"
	done
done
