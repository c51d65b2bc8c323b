"""Put the zoo's tiny exports into models/testdata/zoo, for a test of package node.

Each is a zip of the export, with expected.json: where and what to ask, and the answers.

    python testdata.py
"""

from __future__ import annotations

import json
import zipfile

from entries import tiny
from serve import ROOT, requests
from zoo import ZOO, export, reference, wanted_answers

OUT = ROOT / "models" / "testdata" / "zoo"
SLOW = {"vocab.txt", "vocab.json", "merges.txt", "README.md"}  # what nothing reads


def main() -> None:
    export(tiny(), keep=False)
    OUT.mkdir(exist_ok=True)
    for entry in tiny():
        r = reference(entry)
        whose, want, tolerance = wanted_answers(entry, r)
        expected = {"of": whose, "tolerance": tolerance, "requests": requests(entry), "answers": rounded(want)}
        folder = ZOO / "exports" / entry.name
        with zipfile.ZipFile(OUT / f"{entry.name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
            files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in SLOW}
            files["expected.json"] = json.dumps(expected, ensure_ascii=False).encode()
            for name, data in files.items():
                z.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)
        print(entry.name, (OUT / f"{entry.name}.zip").stat().st_size)


def rounded(value):
    """Return an answer with six digits."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
