"""Times runtime/text and the oracle on the same texts, by turns.

    make tokenizers                    # makes the folder
    go test -c -o text.test ./runtime/text
    .setup/tokenizers/bin/python scripts/tokenizer-oracle/speed.py text.test .setup/tokenizers/answers NAME…

prints, for each tokenizer NAME of the folder and each text of BenchmarkScripts, the MB that
both encode in a second of a processor's time, and their ratio: medians of ROUNDS turns of a
quarter of a second. Both use one thread.
"""

import gzip
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from tokenizers import Tokenizer

ROUNDS = 3
HERE = pathlib.Path(__file__).resolve().parents[2] / "runtime" / "text"
SIZES = {"short": 4 << 10, "long": 100 << 10, "word": 100 << 10}


def theirs(tokenizer, text, seconds=0.25):
    """MB in a second of the library, which is asked for ids alone, as far as it can be."""
    n, start = 0, time.process_time()
    while (took := time.process_time() - start) < seconds:
        tokenizer.encode_batch_fast([text])
        n += 1
    return n * len(text.encode()) / took / 1e6


def ours(binary, folder, name):
    """MB in a second by text."""
    command = [binary, "-test.run=^$", f"-test.bench=BenchmarkScripts/^{name}$", "-test.benchtime=0.25s", "-test.cpu=1"]
    out = subprocess.run(command, cwd=HERE, env=os.environ | {"DISTINFER_TEXT_ORACLE": folder}, check=True, capture_output=True, text=True).stdout
    return {text: float(speed) for text, speed in re.findall(rf"BenchmarkScripts/{name}/(\S+).* ([0-9.]+) MB/cpu-s", out)}


def main():
    binary, folder, *names = sys.argv[1:]
    binary, folder = os.path.abspath(binary), os.path.abspath(folder)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    files = json.loads(gzip.decompress((pathlib.Path(folder) / "configs.json.gz").read_bytes()))
    samples = json.loads((HERE / "testdata" / "scripts.json").read_text())
    texts = {}
    for script, sample in samples.items():
        for kind, size in SIZES.items():
            unit = sample.replace(" ", "") if kind == "word" else sample
            texts[f"{script}/{kind}"] = unit * (1 + size // len(unit.encode()))
    for name in names:
        tokenizer = Tokenizer.from_str(json.dumps(files[name]))
        tokenizer.no_truncation()
        found = {text: ([], []) for text in texts}
        for _ in range(ROUNDS):
            for text, speed in ours(binary, folder, name).items():
                found[text][0].append(speed)
                found[text][1].append(theirs(tokenizer, texts[text]))
        for text, both in found.items():
            a, b = map(statistics.median, both)
            print(f"{name:16} {text:16} {a:8.2f} {b:8.2f} {a / b:7.2f}", flush=True)


if __name__ == "__main__":
    main()
