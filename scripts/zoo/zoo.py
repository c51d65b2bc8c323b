"""Compare distinfer with the Python originals over many small exports.

    python zoo.py [--only PATTERN] [--list] [--export-only] [--keep] [--stages 2,4] [--docs]

Exports what is not in .setup/zoo yet, or was made by other scripts or pins; then each export
is split, served by bin/distinfer and asked 30 texts, alone and together with others. The
answers are compared with those of transformers and sentence-transformers, which were asked
when it was exported. Writes .setup/zoo/results.json and .setup/zoo/results.md.

Ends with 1 if an answer is wrong, or if anything fails behind a split that worked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import report
import serve
from compare import difference
from entries import Entry, entries

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / ".setup" / "zoo"
QUIET = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
CLOSE = 1e-4


def reference(entry: Entry) -> dict | None:
    path = ZOO / "references" / f"{entry.name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def export(wanted: list[Entry], keep: bool) -> None:
    """Export what is missing or stale, with the Python of each version of transformers."""
    missing = [e for e in wanted if (r := reference(e)) is None or (not keep and r["stamp"] != e.stamp())]
    if not missing:
        return
    subprocess.run([python(4), "vocabularies.py", ZOO / "tokenizers"], cwd=Path(__file__).parent, env={**os.environ, **QUIET}, check=True)
    for version in (4, 5):
        of_version = [e for e in missing if e.version == version]
        if of_version:
            print(f"exporting {len(of_version)} models with transformers {version}", flush=True)
            export_all(of_version)


def export_all(missing: list[Entry]) -> None:
    """Export with one process after the other: one that crashes does so at its first entry
    that is not made."""
    while missing:
        version, names = missing[0].version, [e.name for e in missing]
        subprocess.run([python(version), Path(__file__).with_name("worker.py"), ZOO, *names], env={**os.environ, **QUIET}, stderr=subprocess.DEVNULL)
        missing = [e for e in missing if (r := reference(e)) is None or r["stamp"] != e.stamp()]
        if missing:
            first = missing.pop(0)
            record = {"stamp": first.stamp(), "status": "not exportable", "reason": "the exporter crashes"}
            (ZOO / "references" / f"{first.name}.json").write_text(json.dumps(record) + "\n")


def python(version: int) -> Path:
    return ZOO / f"transformers{version}" / "bin" / "python"


def wanted_answers(entry: Entry, r: dict) -> tuple[str, list, float]:
    """Return whose answers distinfer has to give, these, and how far they may be. Where the
    exporter itself changed the model, they are ONNX Runtime's with the exported file."""
    tolerance = {"float16": 1e-2, "O4": 1e-2}.get(entry.variant, CLOSE)
    exact = entry.variant in ("float32", "external", "O1", "O2")
    if "of_export" not in r or (exact and r["export_differs"] <= CLOSE):
        return "the original", r.get("want"), tolerance
    return "the exported file", r["of_export"], tolerance


def compare(entry: Entry, stages: list[int]) -> dict:
    """Return what was found about one entry."""
    r = reference(entry)
    found = {"name": entry.name, "architecture": entry.architecture, "task": entry.task, "exporter": f"{entry.exporter}, transformers {entry.version}", "variant": entry.variant}
    if r["status"] != "exported":
        return found | {"outcome": "not exportable", "reason": r["reason"]}
    whose, want, tolerance = wanted_answers(entry, r)
    found |= {"reference": whose, "export_differs": r.get("export_differs"), "cuts": []}
    folder = ZOO / "exports" / entry.name
    if "export_fails" in r and not r["export_fails"].startswith("KeyError"):
        why = re.sub(r"\S*/(?=model\.onnx)", "…/", r["export_fails"])
        return found | {"outcome": "not exportable", "reason": f"ONNX Runtime does not run the export: {why}"}
    if "of_export" not in r:
        want = None  # it has inputs that no tokenizer makes, or is not for a task: to be refused
    for n in stages:
        with tempfile.TemporaryDirectory(prefix="zoo-") as temp:
            found["cuts"].append(serve.check(entry, folder, r["file"], n, want, Path(temp)))
    verdict = outcome(found["cuts"], tolerance)
    if verdict["outcome"] == "wrong" and entry.variant in ("int8", "qdq") and verdict["largest"] <= 1e-2:
        verdict["outcome"] = "rounded"
    return found | verdict


def outcome(cuts: list[dict], tolerance: float) -> dict:
    """Return the verdict on an entry from those on its cuts."""
    for cut in cuts:
        if "failed" in cut:
            return {"outcome": "error", "reason": cut["failed"]}
        for how in ("alone", "together"):
            if how in cut and cut[how]["failures"]:
                i, message = cut[how]["failures"][0]
                return {"outcome": "error", "reason": f"{cut['stages']} stages, {how}, {len(cut[how]['failures'])} texts such as {i}: {message}"}
    asked = [cut for cut in cuts if "alone" in cut]
    if not asked:
        return {"outcome": "refused", "reason": cuts[0]["refused"]}
    largest = max(cut[how]["difference"] for cut in asked for how in ("alone", "together"))
    if largest > tolerance:
        where = next((c["stages"], how, c[how]["text"], c[how]["over"]) for c in asked for how in ("alone", "together") if c[how]["difference"] > tolerance)
        return {"outcome": "wrong", "largest": largest, "reason": "%d stages, %s: text %d, %d over 1e-4; largest %.2g" % (*where, largest)}
    return {"outcome": "equal", "largest": largest}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", help="regular expression that an entry's name must match")
    p.add_argument("--list", action="store_true", help="print the entries' names")
    p.add_argument("--export-only", action="store_true", help="export what is missing, and compare nothing")
    p.add_argument("--keep", action="store_true", help="keep what other versions of the scripts exported, and export nothing")
    p.add_argument("--stages", default="2,4", help="numbers of stages (%(default)s)")
    p.add_argument("--jobs", type=int, default=2, help="clusters at a time (%(default)s)")
    p.add_argument("--out", type=Path, default=ZOO, help="folder for results.json and results.md (%(default)s)")
    p.add_argument("--docs", action="store_true", help="write the tables into docs/reference/zoo.md too")
    args = p.parse_args()
    wanted = [e for e in entries() if re.search(args.only, e.name)]
    if args.list:
        print("\n".join(e.name for e in wanted))
        return 0
    if not wanted:
        sys.exit(f"zoo.py: no entry matches {args.only!r}")
    if args.keep:
        wanted = [e for e in wanted if reference(e) is not None]
    else:
        export(wanted, args.keep)
    if args.export_only:
        return 0
    started, lock, found = time.monotonic(), threading.Lock(), []
    stages = [int(n) for n in args.stages.split(",")]

    def one(entry: Entry) -> dict:
        try:
            f = compare(entry, stages)
        except Exception as e:  # a fault of these scripts
            f = {"name": entry.name, "architecture": entry.architecture, "task": entry.task, "exporter": entry.exporter, "variant": entry.variant, "outcome": "error", "reason": f"zoo.py: {type(e).__name__}: {e}"}
        with lock:
            found.append(f)
            print(f"{len(found)}/{len(wanted)} {f['name']}: {f['outcome']} {f.get('reason', '')[:300]} {'%.1e' % f['largest'] if 'largest' in f else ''}", flush=True)
        return f

    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(one, wanted))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "results.md").write_text(report.markdown(results))
    if args.docs:
        report.document(ROOT / "docs" / "reference" / "zoo.md", results)
    print(report.summary(results))
    print(f"\n{len(results)} exports in {time.monotonic() - started:.0f} s; every result is in {args.out}/results.json")
    return 1 if any(f["outcome"] in ("wrong", "error") for f in results) else 0


if __name__ == "__main__":
    sys.exit(main())
