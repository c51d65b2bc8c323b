#!/usr/bin/env bash
# Brings up the front and the stages of deploy/compose.yaml with podman, asks, ends a stage, and asks
# again. Prometheus and Grafana come from a registry: their files are checked, and that what
# Prometheus scrapes answers. Needs root and Debian's packages podman, runc and netavark.
. "$(dirname "$0")/lib.sh"
. scripts/dist/checks/podman.sh

IMAGE=$(load)
scripts/python-env.sh dist-compose scripts/dist/checks/compose.txt
port=$((20000 + RANDOM % 10000))
export DISTINFER_IMAGE=$IMAGE DISTINFER_PORT=$port
compose() { .setup/dist-compose/bin/podman-compose --file deploy/compose.yaml "$@"; }
compose config >"$WORK/config"
.setup/dist-compose/bin/python - "$WORK/config" <<'P'
import json, sys, yaml
from pathlib import Path

config = yaml.safe_load(Path(sys.argv[1]).read_text())
assert set(config["services"]) == {"certs", "split", "stage-0", "stage-1", "front", "prometheus", "grafana"}
for name in ("prometheus", "grafana"):
    for volume in config["services"][name]["volumes"]:
        source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
        assert (Path("deploy") / source).exists(), volume
for name in ("prometheus", "grafana", "dashboards"):
    assert yaml.safe_load(Path(f"deploy/compose/{name}.yml").read_text())
json.loads(Path("deploy/grafana/distinfer.json").read_text())
P

begin=$SECONDS
at_end compose down --volumes
compose up --detach stage-0 stage-1 front >"$WORK/log" 2>&1 || { tail -20 "$WORK/log" >&2; exit 1; }
answers() { [ "$(curl -sf "localhost:$port/?text=a+moving+film")" = positive ]; }
until_right 90 answers || { compose logs | tail -40; exit 1; }
echo "first right answer $((SECONDS - begin)) s after up"
for target in $(sed -n 's/.*targets: \[\(.*\)\]/\1/p' deploy/compose/prometheus.yml | tr -d '",'); do
	container=$(podman ps --format '{{.Names}}' | grep -- "${target%%:*}")
	address=$(podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$container")
	has "$target" distinfer_build_info "$(curl -sf --header "Host: $target" "http://$address:${target##*:}/metrics" | grep distinfer_build_info)"
done
podman kill "$(podman ps --format '{{.Names}}' | grep stage-1)" >/dev/null
compose up --detach stage-1 >>"$WORK/log" 2>&1
until_right 60 answers
