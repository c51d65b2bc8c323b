#!/usr/bin/env bash
# Installs the wheel into a fresh environment without a network, splits, serves, and asks with the
# client. Then ONNX Runtime is taken away, and then an old one put there: both are said plainly.
. "$(dirname "$0")/lib.sh"

packages=$ROOT/.setup/dist-wheels
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
	--find-links "$packages" --requirement scripts/dist/checks/wheel.txt --dest "$packages"
cd "$WORK"
python3 -m venv env
begin=$(date +%s%N)
env/bin/pip install --quiet --disable-pip-version-check --no-index --find-links "$packages" --find-links "$DIST" distinfer
echo "installed in $((($(date +%s%N) - begin) / 1000000)) ms, $(du -sm env | cut -f1) MB with the environment"
command=$PWD/env/bin/distinfer

version=$("$command" version -o json)
has version '"installation":"wheel"' "$version"
has version '"library":"[^"]*/onnxruntime/capi/libonnxruntime.so' "$version"
has "python -m distinfer" 'ONNX Runtime' "$(env/bin/python -m distinfer version)"

"$command" split "$MODEL" --stages 2 >/dev/null
port=$((20000 + RANDOM % 10000))
"$command" up --port $port >log 2>&1 &
at_end kill $!
until_right 60 env/bin/python -c "
from distinfer import Client
assert Client('http://localhost:$port', retries=0).ready()"
env/bin/python - "$port" <<'P'
import sys
from concurrent.futures import ThreadPoolExecutor
from distinfer import Client, Error

with Client(f"http://localhost:{sys.argv[1]}") as client:
    good, bad = client.predict(["a moving film, full of quiet humour", "a waste of time"])
    assert good[0]["label"] == "positive" and bad[0]["label"] == "negative", (good, bad)
    assert len(client.predict(["a film"], top_k=1)[0]) == 1
    assert client.label("a lovely film") == "positive"
    assert client.predict([]) == []
    assert client.status()["task"] == "text-classification"
    texts = [f"film number {i} is {'good' if i % 2 else 'awful'}" for i in range(600)]
    alone = [client.predict([t])[0][0]["label"] for t in texts[:8]]
    streamed = [labels[0]["label"] for labels in client.stream(iter(texts))]
    assert len(streamed) == 600 and streamed[:8] == alone
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.label, texts[:64])) == streamed[:64]
    for wrong in (lambda: client.embed(["a"]), lambda: client.predict([""])):
        try:
            wrong()
            raise SystemExit("no error")
        except Error as e:
            assert e.status in (400, 404), e
    try:
        client.predict("a string")
        raise SystemExit("a string was taken for a list")
    except TypeError:
        pass
    try:
        Client("http://localhost:1", retries=0).label("a")
        raise SystemExit("no error")
    except Error as e:
        assert e.status == 0 and "localhost:1" in str(e), e
P

site=$(env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mv "$site/onnxruntime" aside
has "without onnxruntime" 'pip install' "$("$command" version 2>&1 || true)"
mkdir -p "$site/onnxruntime/capi"
cp "$site"/numpy.libs/*.so* "$site/onnxruntime/capi/libonnxruntime.so.1.1.0" 2>/dev/null || true
has "with another library" '1\.24 or newer' "$("$command" version 2>&1 || true)"
