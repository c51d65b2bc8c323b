"""Tables of what the zoo found."""

from __future__ import annotations

import collections
import datetime
import re
import textwrap
from pathlib import Path

MARK = "<!-- written by make zoo ARGS=--docs -->"
OUTCOMES = ("equal", "rounded", "refused", "wrong", "error", "not exportable")


def table(results: list[dict], column: str) -> list[str]:
    """Return a Markdown table that counts outcomes by one column."""
    counts: dict = collections.defaultdict(collections.Counter)
    for r in results:
        counts[r[column]][r["outcome"]] += 1
    rows = [f"| {column} | {' | '.join(OUTCOMES)} |", f"| --- |{' ---: |' * len(OUTCOMES)}"]
    rows += [f"| {name} | {' | '.join(str(c[o] or '') for o in OUTCOMES)} |" for name, c in counts.items()]
    return rows


def reasons(results: list[dict], outcome: str) -> list[str]:
    """Return a table of the reasons of one outcome, with the entries that have each."""
    names = collections.defaultdict(list)
    for r in results:
        if r["outcome"] == outcome:
            names[r["reason"].replace("|", "\\|").replace("<", "&lt;")].append(r["name"])
    rows = [f"| {outcome} | exports |", "| --- | --- |"]
    return rows + [f"| {reason} | {', '.join(who)} |" for reason, who in sorted(names.items(), key=lambda x: -len(x[1]))]


def summary(results: list[dict]) -> str:
    counts = collections.Counter(r["outcome"] for r in results)
    exported = [r for r in results if r["outcome"] != "not exportable"]
    largest = max((r["largest"] for r in results if r["outcome"] == "equal" and r["variant"] == "float32"), default=0)
    return (
        f"{len(exported)} exports of {len({r['architecture'] for r in exported})} architectures: "
        + ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
        + f"; largest difference of an equal float32 one {largest:.1e}"
    )


def document(page: Path, results: list[dict]) -> None:
    """Put the report into a page, in place of all that is behind its mark."""
    head = page.read_text(encoding="utf-8").split(MARK)[0]
    on = textwrap.fill(f"On {datetime.date.today()}: {summary(results)}.", 98)
    tables = markdown(results).split("\n\n", 1)[1]
    page.write_text(f"{head}{MARK}\n\n{on}\n\n{tables}", encoding="utf-8")


def markdown(results: list[dict]) -> str:
    """Return the whole report."""
    parts = [[summary(results)]]
    parts += [table(results, c) for c in ("variant", "task", "exporter", "architecture")]
    parts += [reasons(results, o) for o in OUTCOMES[1:] if any(r["outcome"] == o for r in results)]
    return "\n\n".join("\n".join(p) for p in parts) + "\n"
