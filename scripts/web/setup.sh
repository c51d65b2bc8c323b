#!/usr/bin/env bash
# Has what the tests of the page need: Chromium, which Debian's package is installed of
# where there is none, and axe-core in .setup/web, of the version and hash below. What is
# there already is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v chromium chromium-browser google-chrome >/dev/null; then
	if ! command -v apt-get >/dev/null; then
		echo 'the tests of the page need Chromium: install it, so that `chromium` is in the PATH' >&2
		exit 1
	fi
	as=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! sudo -n true 2>/dev/null; then
			echo 'the tests of the page need Chromium: run `sudo apt-get install chromium`' >&2
			exit 1
		fi
		as=(sudo -n)
	fi
	echo 'installing Chromium (a minute, once)'
	"${as[@]}" apt-get update -qq
	"${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

version=4.14.1
sha256=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
home=.setup/web
if sha256sum --check --status <<<"$sha256  $home/axe.min.js" 2>/dev/null; then
	exit 0
fi
mkdir -p $home
temp=$(mktemp -d -p $home)
trap 'rm -rf "$temp"' EXIT
(cd "$temp" && npm pack --silent "axe-core@$version" >/dev/null && tar -xzf axe-core-$version.tgz package/axe.min.js)
if ! sha256sum --check --status <<<"$sha256  $temp/package/axe.min.js"; then
	echo "axe-core $version is not the one that is pinned" >&2
	exit 1
fi
mv "$temp/package/axe.min.js" $home/axe.min.js
echo "axe-core $version is in $home"
