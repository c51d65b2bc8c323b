"""Export entries of the zoo, one after the other.

    python worker.py ZOO NAME…

Writes ZOO/exports/NAME as the exporter leaves it, and ZOO/references/NAME.json: what
became of it and the answers. An entry has four minutes of a processor. A crash ends the process; the
caller goes on with the next entry.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import torch
import transformers

import export
import models
from entries import Entry, entries

SECONDS = 240


def why(error: BaseException) -> str:
    """Return an error in one line; that of the exporter rather than what it wraps it in."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300]}"


def late(*_) -> None:
    raise TimeoutError(f"took more than {SECONDS} s of a processor")


def make(entry: Entry, zoo: Path) -> dict:
    """Make one entry, within the time; returns what its reference file has."""
    record = {"stamp": entry.stamp(), "versions": {"transformers": transformers.__version__, "torch": torch.__version__}}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
    try:
        with tempfile.TemporaryDirectory(prefix="zoo-") as temp:
            return record | {"status": "exported", **export.make(entry, zoo, Path(temp))}
    except models.Unmakeable as e:
        return record | {"status": "not exportable", "reason": str(e)}
    except Exception as e:
        if os.environ.get("ZOO_TRACE"):
            traceback.print_exc(file=sys.stderr)
        return record | {"status": "not exportable", "reason": why(e)}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    zoo, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, late)
    for folder in ("exports", "references"):
        (zoo / folder).mkdir(parents=True, exist_ok=True)
    by_name = {e.name: e for e in entries()}
    for name in names:
        with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            record = make(by_name[name], zoo)
        (zoo / "references" / f"{name}.json").write_text(json.dumps(record) + "\n")
        print(f"{name}: {record['status']} {record.get('reason', '')}{record.get('export_fails', '')} {record.get('export_differs', '')}"[:300], flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
    os._exit(0)  # torch's libraries take seconds to say what they leak
