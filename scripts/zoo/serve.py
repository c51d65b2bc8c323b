"""Split an export, serve it with `distinfer up`, and compare its answers with the references."""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import re
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from compare import difference
from entries import Entry
from texts import pairs, texts

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "bin" / "distinfer"
READY = 90  # seconds
CLIENTS = 8


class Refused(Exception):
    """What split said when it did not split."""


class Failed(Exception):
    """What went wrong behind a split that worked."""


@dataclass
class Cluster:
    """A running `distinfer up`."""

    process: subprocess.Popen
    port: int

    def ask(self, body: dict, path: str = "/predict") -> object:
        """Return the answer to one request; raises Failed for any but 200."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as e:
            raise Failed(f"no answer: {e}") from e
        finally:
            connection.close()
        if answer.status != 200:
            raise Failed(f"HTTP {answer.status}: {text.strip()[:300]}")
        return json.loads(text)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def split(folder: Path, file: str, stages: int, out: Path) -> list[str]:
    """Split the model of a folder, as people name it; returns what was warned of."""
    command = [BINARY, "split", folder, "--stages", str(stages), "--out", out, "--force", "-o", "json", "--threads", "1"]
    if len(list(folder.rglob("*.onnx"))) > 1:
        command += ["--file", file]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=out.parent)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0 or "goroutine " in done.stderr:
        raise Failed(f"split ended with {done.returncode}: {' '.join(lines)[:300]}")
    if done.returncode != 0:
        raise Refused(re.sub(r"^(Error|distinfer): ", "", lines[-1] if lines else "no reason was given"))
    return lines


def start(bundle: Path, log: Path) -> Cluster:
    """Start a cluster, and wait until it says where it is."""
    with log.open("w") as f:
        process = subprocess.Popen(
            [BINARY, "up", "--bundle", bundle, "--port", "0", "--threads", "1", "--max-wait", "60s", "--timeout", "60s"],
            stdout=f, stderr=subprocess.STDOUT, cwd=bundle.parent, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
    cluster, until = Cluster(process, 0), time.monotonic() + READY
    while time.monotonic() < until and process.poll() is None:
        said = log.read_text(errors="replace")
        if found := re.search(r"up at http://localhost:(\d+)", said):
            cluster.port = int(found[1])
            if no_text := re.search(r'msg="no text route: (.*)"', said):
                cluster.stop()
                raise Failed(f"no text route: {no_text[1]}")
            return cluster
        time.sleep(0.05)
    if process.poll() is None:
        cluster.stop()
        raise Failed(f"not up within {READY} s")
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise Failed(f"up ended with {process.returncode}: {lines[-1][:400] if lines else ''}")


def requests(entry: Entry) -> list[dict]:
    """Return a request for each reference."""
    if entry.task in ("pairs", "rerank"):
        return [{"inputs": {"text": a, "text_pair": b}} for a, b in pairs()]
    more = {"parameters": {"aggregation_strategy": "simple"}} if entry.task == "tokens" else {}
    if "prompt" in entry.options:
        more = {"prompt_name": "query", "normalize": False}  # /embed normalizes unless told otherwise
    return [{"inputs": t, **more} for t in texts()]


def read(entry: Entry, answer) -> object:
    """Return an answer in the form that references have."""
    if entry.task == "tokens":
        return [[e["entity_group"], e["score"], e["word"], e["start"], e["end"]] for e in answer]
    if entry.task.startswith(("embed", "features")):
        return answer[0]
    return {r["label"]: r["score"] for r in answer[0]}


def answer(cluster: Cluster, entry: Entry, body: dict) -> object:
    """Return the answer to one request in the form of references, or the failure as text."""
    try:
        return read(entry, cluster.ask(body, "/embed" if "prompt_name" in body else "/predict"))
    except (Failed, KeyError, IndexError, TypeError, ValueError) as e:
        return f"{type(e).__name__}: {e}"[:300]


def together(cluster: Cluster, entry: Entry, bodies: list[dict], seed: int) -> list:
    """Ask everything twice, by several clients at once, in an order of its own."""
    order, made = [*range(len(bodies))] * 2, [None] * len(bodies) * 2
    random.Random(seed).shuffle(order)
    work: queue.SimpleQueue = queue.SimpleQueue()
    for place, i in enumerate(order):
        work.put((place, i))

    def client() -> None:
        while True:
            try:
                place, i = work.get_nowait()
            except queue.Empty:
                return
            made[place] = (i, answer(cluster, entry, bodies[i]))

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    return made


def worst(want: list, got: list[tuple[int, object]]) -> dict:
    """Return how many answers there are, the largest difference, where, and failures."""
    found = {"answers": len(got), "difference": 0.0, "text": None, "over": 0, "failures": []}
    for i, have in got:
        if isinstance(have, str):
            found["failures"].append([i, have])
            continue
        d = difference(want[i], have)
        found["over"] += d > 1e-4
        if d > found["difference"]:
            found |= {"difference": d, "text": i}
    return found


def check(entry: Entry, folder: Path, file: str, stages: int, want: list | None, temp: Path) -> dict:
    """Split into so many stages, serve and ask; returns what was found. Without answers to
    compare with, the model has to be refused."""
    found: dict = {"stages": stages}
    started = time.monotonic()
    try:
        found["warnings"] = split(folder, file, stages, temp / "bundle")
        found["split_seconds"] = round(time.monotonic() - started, 2)
        cluster = start(temp / "bundle", temp / "log")
    except Refused as e:
        return found | {"refused": str(e).replace(str(folder), "…")}
    except Failed as e:
        return found | {"failed": str(e).replace(str(temp), "…")}
    try:
        if want is None:
            return found | {"failed": "was served, and should have been refused"}
        bodies = requests(entry)
        found["alone"] = worst(want, [(i, answer(cluster, entry, b)) for i, b in enumerate(bodies)])
        found["together"] = worst(want, together(cluster, entry, bodies, stages))
    finally:
        cluster.stop()
    return found | {"seconds": round(time.monotonic() - started, 2)}
