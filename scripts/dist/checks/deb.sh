#!/usr/bin/env bash
# Boots Debian 12 with its systemd in a root folder of its own, and installs, serves, upgrades,
# removes and purges the package there. Needs root, and mmdebstrap and systemd-nspawn of Debian's
# packages mmdebstrap and systemd-container.
. "$(dirname "$0")/lib.sh"

package=$(one "distinfer_*_$(dpkg --print-architecture).deb")
root=$WORK/root
mkdir "$root"
tar -xf "$(debian_root)" -C "$root"
: >"$root/etc/machine-id"
echo "127.0.0.1 localhost" >"$root/etc/hosts" # which an installed Debian has
cp -r "$(dirname "$MODEL")" "$root/model"
cp "$package" "$root/new.deb"
# The one before: the same in an older version, whose configuration's comment differs.
dpkg-deb -R "$package" "$WORK/old"
sed -i 's/^Version:.*/Version: 0.0.0~0/' "$WORK/old/DEBIAN/control"
dpkg-deb -Znone -b "$WORK/old" "$root/old.deb" >/dev/null
rm -rf "$WORK/old"

systemd-nspawn --quiet -D "$root" --boot --register=no --keep-unit --private-network --machine="distinfer-$$" </dev/null >"$WORK/log" 2>&1 &
nspawn=$!
at_end wait $nspawn
at_end kill -TERM $nspawn
until_right 30 pgrep -P $nspawn
init=$(pgrep -P $nspawn)
inside() { nsenter -t "$init" -a --wd=/ env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
# A system as small as this is "running" or, where the kernel lacks something, "degraded".
until_right 60 inside sh -c 'systemctl is-system-running | grep -qE "running|degraded"'
services=(distinfer-stage@0 distinfer-stage@1 distinfer-front)

# Install: nothing runs, and the command is there.
begin=$(date +%s%N)
inside dpkg -i /old.deb >/dev/null
echo "installed in $((($(date +%s%N) - begin) / 1000000)) ms, $(inside dpkg-query -W -f '${Installed-Size}' distinfer) kB"
has version '"installation":"package"' "$(inside distinfer version -o json)"
has bill '"sbom":"/usr/share/doc/distinfer/distinfer.cdx.json"' "$(inside distinfer version -o json)"
is "the user's shell" /usr/sbin/nologin "$(inside getent passwd distinfer | cut -d: -f7)"
is "what was started" "" "$(inside pgrep -u distinfer || true)"
for f in man/man1/distinfer.1 bash-completion/completions/distinfer doc/distinfer/licences/onnxruntime/ThirdPartyNotices.txt; do
	inside test -s "/usr/share/$f"
done

# One command serves.
inside runuser -u distinfer -- distinfer split /model/model.onnx --stages 2 --out /var/lib/distinfer/stages >/dev/null
inside systemctl enable --quiet --now "${services[@]}"
answers() { [ "$(inside curl -sf 'localhost:8008/?text=a+moving+film')" = positive ]; }
until_right 60 answers
is users distinfer "$(inside ps -o user= -C distinfer | sort -u)"
for s in "${services[@]}"; do
	exposure=$(inside systemd-analyze security --no-pager "$s" | sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p')
	echo "$s: exposure $exposure"
	awk -v e="$exposure" 'BEGIN { exit !(e != "" && e < 3) }'
done
pid() { inside systemctl show -P MainPID "$1"; }
before=$(pid distinfer-stage@1)
inside kill -9 "$before"
restarted() { [ "$(pid distinfer-stage@1)" -gt 1 ] && [ "$(pid distinfer-stage@1)" != "$before" ]; }
until_right 30 restarted
until_right 60 answers

# An upgrade keeps the configuration and goes on with the new program.
inside sh -c 'echo "log-level: debug" >>/etc/distinfer/distinfer.yaml'
before=$(pid distinfer-front)
inside dpkg -i /new.deb >/dev/null
has configuration 'log-level: debug' "$(inside cat /etc/distinfer/distinfer.yaml)"
[ "$(pid distinfer-front)" != "$before" ]
until_right 60 answers

# Removed: nothing runs or would; what is one's own stays. Purged: nothing stays.
inside dpkg --remove distinfer >/dev/null
is "what runs after its removal" "" "$(inside pgrep -u distinfer || true)"
is "what is enabled" "" "$(inside find /etc/systemd -name 'distinfer*')"
inside test -s /var/lib/distinfer/stages/manifest.json
inside test -s /etc/distinfer/distinfer.yaml
inside dpkg -i /new.deb >/dev/null
is "what the next installation started" "" "$(inside pgrep -u distinfer || true)"
inside dpkg --purge distinfer >/dev/null
is "what is left" "" "$(inside find /etc /usr /var /run /home -iname '*distinfer*' -not -path '/var/log/*' -not -path '/var/cache/*' -not -path '/run/host/*')"
is "users that are left" "" "$(inside getent passwd distinfer || true)"
inside systemctl poweroff
