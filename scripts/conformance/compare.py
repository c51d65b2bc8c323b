"""Compare split models with whole ones, without trusting distinfer to do so.

    python compare.py [--models DIR] [--only PATTERN] [--stages N] [--json FILE] [--jobs N]

For every model under DIR, ONNX Runtime runs the whole model in Python. Then
bin/distinfer cuts it at every number of stages up to N, unverified, and ONNX Runtime
runs the stages in Python, chained as manifest.json says, on the same inputs: those
beside the model (test_data_set_N/input_N.pb), or generated ones of several sizes.
What comes out is compared bit by bit. Once a model, distinfer is also asked to verify,
and its answer compared with what was found here.

Ends with 1 if anything is wrong: a stage that does not load or run, a value that
differs, a manifest that does not tell the truth, or a verification that says
something else than what was found.
"""

import argparse
import collections
import hashlib
import itertools
import json
import math
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = REPOSITORY / "bin" / "distinfer"
TIME_FOR_A_MODEL = 300  # seconds

# Sizes of the dimensions that a model leaves open: of the first, of the others, and
# how many times that every second of the others is. Of those that the model takes, the
# first four are used.
SIZES = [(1, 128, 1), (2, 64, 2), (3, 7, 1), (2, 16, 1), (1, 48, 4), (5, 1, 1), (1, 320, 1), (1, 1, 1)]


# --- the worker: one model after the other, in a process that may crash ---


def worker(optimize: bool) -> None:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, numpy_helper

    ort.set_default_logger_severity(4)
    threads = ort.SessionOptions()
    threads.intra_op_num_threads = 1
    # Elements that NumPy does not have come back as float32.
    wideners: dict[int, ort.InferenceSession] = {}

    def session(path: Path) -> ort.InferenceSession:
        return ort.InferenceSession(str(path), threads, providers=["CPUExecutionProvider"])

    def widen(value: ort.OrtValue):
        kind = value.element_type()
        if kind not in wideners:
            graph = onnx.helper.make_graph(
                [onnx.helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], "widen",
                [onnx.helper.make_tensor_value_info("x", kind, None)],
                [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            )  # fmt: skip
            model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 25)], ir_version=13)
            wideners[kind] = ort.InferenceSession(model.SerializeToString(), threads, providers=["CPUExecutionProvider"])
        return wideners[kind].run_with_ort_values(["y"], {"x": value})[0].numpy()

    def plain(value):
        """A value as (type, shape, array), or a list of such."""
        if isinstance(value, ort.OrtValue):
            if value.has_value() and value.is_tensor():
                try:
                    array = value.numpy()
                except (RuntimeError, NotImplementedError):
                    array = widen(value)
                return (value.data_type(), tuple(value.shape()), array)
            raise TypeError(f"a {value.data_type()} cannot be read")
        if isinstance(value, np.ndarray):
            return (str(value.dtype), value.shape, value)
        if isinstance(value, list):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return [plain(np.asarray(v)) for pair in sorted(value.items()) for v in pair]
        return plain(np.asarray(value))

    def difference(a, b) -> float:
        """How far two plain values are from each other, as a share of the largest
        magnitude; infinite when they are of different types or shapes."""
        if isinstance(a, list) or isinstance(b, list):
            if type(a) is not type(b) or len(a) != len(b):
                return math.inf
            return max((difference(x, y) for x, y in zip(a, b)), default=0.0)
        if a[:2] != b[:2]:
            return math.inf
        x, y = a[2], b[2]
        if x.dtype.kind not in "fc" and x.dtype.kind != "V":
            return 0.0 if np.array_equal(x, y) else math.inf
        if x.tobytes() == y.tobytes():
            return 0.0
        x, y = (v.astype(np.complex128 if v.dtype.kind == "c" else np.float64) for v in (x, y))
        with np.errstate(all="ignore"):
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            d = np.where(same, 0, np.abs(x - y))
            finite = np.abs(x[np.isfinite(x)])
        scale = max(float(finite.max()) if finite.size else 0.0, 1e-6)
        worst = float(d.max()) if d.size else 0.0
        return worst / scale if worst == worst else math.inf

    def tolerance(path: Path) -> float:
        """1e-4, or 1e-2 for a model that computes in 16 bits or less: ONNX Runtime keeps
        32 between some of its nodes, which a cut rounds. Weights that are only stored so
        make no difference."""
        graph = onnx.load(path, load_external_data=False).graph
        try:
            graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
        except Exception:  # too large, or of operators unknown to it
            pass
        declared = [*graph.input, *graph.output, *graph.value_info]
        return 1e-2 if any(v.type.tensor_type.elem_type in NARROW for v in declared) else 1e-4

    NARROW = {n for name, n in TensorProto.DataType.items() if re.match("B?FLOAT(16|8|4)", name)}

    def is_tensor(info) -> bool:
        return info.type.startswith("tensor(")

    def is_plain(info) -> bool:
        """Whether ort.OrtValue takes it."""
        return is_tensor(info) and info.type != "tensor(string)"

    def feed(array, kind: str):
        if kind in NUMPY:
            return ort.OrtValue.ortvalue_from_numpy(array)
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, onnx_types[kind])

    NUMPY = {
        "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
        "tensor(int8)": np.int8, "tensor(int16)": np.int16, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
        "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32,
        "tensor(uint64)": np.uint64, "tensor(bool)": np.bool_, "tensor(string)": object,
    }  # fmt: skip

    onnx_types = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}

    def load_pb(path: Path, info):
        data = path.read_bytes()
        if info.type.startswith("optional("):
            proto = onnx.OptionalProto.FromString(data)
            return numpy_helper.to_optional(proto)
        if info.type.startswith("seq("):
            return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
        proto = onnx.TensorProto.FromString(data)
        array = numpy_helper.to_array(proto)
        return array.astype(object) if proto.data_type == TensorProto.STRING else array

    def stored(folder: Path, inputs) -> list[dict]:
        sets = []
        for data in sorted(folder.glob("test_data_set_*")):
            files = sorted(data.glob("input_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
            values = {}
            for i, path in enumerate(files):
                name = onnx.TensorProto.FromString(path.read_bytes()).name if inputs and is_tensor(inputs[0]) else ""
                named = [x for x in inputs if x.name == name]
                if named or i < len(inputs):
                    info = named[0] if named else inputs[i]
                    values[info.name] = load_pb(path, info)
            if len(values) == len(inputs):
                sets.append(values)
        return sets

    def generated(inputs):
        if any(x.type not in NUMPY for x in inputs):
            return
        fixed = all(isinstance(d, int) for x in inputs for d in x.shape)
        leading = {x.shape[0] for x in inputs if x.shape}
        for seed, (first, other, times) in enumerate(SIZES[:2] if fixed else SIZES):
            random = np.random.default_rng(seed)
            values, named, alternate = {}, {}, itertools.cycle((other, other * times))

            def size(d, at: int) -> int:
                if isinstance(d, int):
                    return d
                if not isinstance(d, str) or not d.isidentifier():  # "?" names nothing
                    return first if at == 0 else next(alternate)
                if d not in named:
                    named[d] = first if d in leading else next(alternate)
                return named[d]

            for x in inputs:
                shape = [size(d, at) for at, d in enumerate(x.shape)]
                if math.prod(shape) > 1 << 24:
                    break
                kind = NUMPY[x.type]
                if kind is object:
                    values[x.name] = np.array([f"word {i % 5}" for i in range(math.prod(shape))], object).reshape(shape)
                elif np.issubdtype(kind, np.floating):
                    values[x.name] = (2 * random.random(shape) - 1).astype(kind)
                else:
                    values[x.name] = random.integers(0, 2, shape).astype(kind)
            else:
                yield values

    class Runner:
        """Runs a session on named values, which stay as ONNX Runtime made them where
        all are tensors."""

        def __init__(self, path: Path):
            self.session = session(path)
            self.inputs = self.session.get_inputs()
            self.outputs = [o.name for o in self.session.get_outputs()]
            self.tensors = all(map(is_plain, self.inputs + self.session.get_outputs()))

        def run(self, values: dict) -> dict:
            fed = {x.name: values[x.name] for x in self.inputs}
            if self.tensors:
                fed = {
                    x.name: fed[x.name] if isinstance(fed[x.name], ort.OrtValue) else feed(fed[x.name], x.type)
                    for x in self.inputs
                }
                return dict(zip(self.outputs, self.session.run_with_ort_values(self.outputs, fed)))
            fed = {n: v.numpy() if isinstance(v, ort.OrtValue) else v for n, v in fed.items()}
            return dict(zip(self.outputs, self.session.run(self.outputs, fed)))

    def split(path: Path, n: int, out: Path, verify: bool) -> tuple[int, str]:
        command = [BINARY, "split", path, "--stages", str(n), "--out", out, "-o", "json", "--threads", "1"]
        if not optimize:
            command.append("--no-optimize")
        done = subprocess.run(
            [*command, *(() if verify else ("--no-verify",))], capture_output=True, text=True, errors="replace", cwd=out.parent
        )
        return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).strip()

    def lie(spec: dict, value, sizes: dict) -> str:
        """What the manifest says wrongly about a value, or nothing. A dimension's name
        stands for one size wherever it is; sizes are those met so far."""
        if isinstance(value, ort.OrtValue) and value.is_tensor():
            kind, shape = value.data_type(), value.shape()
        elif isinstance(value, np.ndarray):
            kind, shape = None, value.shape
        else:
            return ""
        names = {"float": "float32", "double": "float64"}
        if kind and spec["dtype"] != names.get(kind[7:-1], kind[7:-1]):
            return f"{spec['name']} is {kind}, the manifest says {spec['dtype']}"
        if spec.get("any_rank"):
            return ""
        dims = spec["dims"] or []
        fits = len(dims) == len(shape) and all(
            d is None or s == (sizes.setdefault(d, s) if isinstance(d, str) else d) for d, s in zip(dims, shape)
        )
        return "" if fits else f"{spec['name']} is {list(shape)}, the manifest says {dims} with {sizes}"

    def chain(out: Path, whole: Runner, sets: list, most: float) -> tuple[str, str, float]:
        """Run the stages in out on sets of inputs, the whole model's outputs, and whether
        those are random. Gives a verdict, its reason, and the largest difference."""
        manifest = json.loads((out / "manifest.json").read_text())
        if [x["name"] for x in manifest["inputs"]] != [x.name for x in whole.inputs]:
            return "wrong", "the manifest's inputs are not the model's", 0
        if [x["name"] for x in manifest["outputs"]] != whole.outputs:
            return "wrong", "the manifest's outputs are not the model's", 0
        stages = []
        for rank, s in enumerate(manifest["stages"]):
            for file in [s, *([s["data"]] if s.get("data") else [])]:
                if hashlib.sha256((out / file["file"]).read_bytes()).hexdigest() != file["sha256"]:
                    return "wrong", f"stage {rank}: {file['file']} has another hash than the manifest says", 0
            try:
                runner = Runner(out / s["file"])
            except Exception as e:
                return "wrong", f"stage {rank} does not load: {e}", 0
            if [x["name"] for x in s["inputs"]] != [x.name for x in runner.inputs]:
                return "wrong", f"stage {rank} takes {[x.name for x in runner.inputs]}, which the manifest does not say", 0
            if [x["name"] for x in s["outputs"]] != runner.outputs:
                return "wrong", f"stage {rank} gives {runner.outputs}, which the manifest does not say", 0
            stages.append((s, runner))
        worst, exact = 0.0, True
        for values, want, random in sets:
            there, sizes = dict(values), {}
            for spec in manifest["inputs"]:
                if wrong := lie(spec, values[spec["name"]], sizes):
                    return "wrong", f"the model's input {wrong}", 0
            for rank, (s, runner) in enumerate(stages):
                try:
                    made = runner.run(there)
                except Exception as e:
                    return "wrong", f"stage {rank} does not run: {e}", 0
                there = {**{name: there[name] for name in s.get("forward") or []}, **made}
                for spec in s["outputs"]:
                    if wrong := lie(spec, made[spec["name"]], sizes):
                        return "wrong", f"stage {rank}: {wrong}", 0
            for name, a in want.items():
                b = plain(there[name])
                if random:
                    if shapes(a) != shapes(b):
                        return "wrong", f"output {name} is of {shapes(b)}, in the whole model of {shapes(a)}", 0
                    continue
                d = difference(a, b)
                if d > most:
                    return "wrong", f"output {name} differs by {d:.2e} of the largest magnitude", d
                worst, exact = max(worst, d), exact and d == 0
        return ("exact" if exact else "close"), "", worst

    def shapes(value):
        return [shapes(v) for v in value] if isinstance(value, list) else value[:2]

    def check(path: Path, most: int) -> dict:
        result = {"cuts": [], "sets": 0}
        try:
            whole = Runner(path)
        except Exception as e:
            return {**result, "skipped": "ONNX Runtime does not load it", "message": str(e)}
        sets, failure = [], "no inputs could be made"
        for values in itertools.chain(stored(path.parent, whole.inputs) or generated(whole.inputs)):
            try:
                first, second = whole.run(values), whole.run(values)
                a, b = ({n: plain(v) for n, v in r.items()} for r in (first, second))
            except Exception as e:
                failure = str(e)
                continue
            sets.append((values, a, any(difference(a[n], b[n]) != 0 for n in a)))
            if len(sets) == 4:
                break
        if not sets:
            return {**result, "skipped": "ONNX Runtime does not run it", "message": failure}
        result["sets"], result["random"] = len(sets), any(s[2] for s in sets)
        allowed = tolerance(path)
        with tempfile.TemporaryDirectory() as temp:
            largest = 0
            for n in range(1, most + 1):
                out = Path(temp) / str(n)
                code, message = split(path, n, out, verify=False)
                if code != 0:
                    verdict = ("refused" if code == 1 else "wrong"), message, 0
                    if out.exists():
                        verdict = "wrong", f"left {out.name} behind although it failed: {message}", 0
                else:
                    verdict = chain(out, whole, sets, allowed)
                    largest = n
                    shutil.rmtree(out)
                result["cuts"].append({"stages": n, "verdict": verdict[0], "message": verdict[1], "difference": verdict[2]})
            if largest:
                code, message = split(path, largest, Path(temp) / "verified", verify=True)
                result["verified"] = "" if code == 0 else message
        return result

    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = check(Path(task["path"]), task["stages"])
        except Exception as e:  # a fault of this script: say which model shows it
            answer = {"cuts": [], "sets": 0, "broken": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


# --- the parent: hands out models, counts, prints ---


def serve(tasks: queue.Queue, results: dict, args: argparse.Namespace, show) -> None:
    process = None
    while True:
        try:
            name, path = tasks.get_nowait()
        except queue.Empty:
            break
        if process is None:
            process = subprocess.Popen(
                [sys.executable, __file__, "--worker", *(["--optimize"] if args.optimize else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        started = time.monotonic()
        timer = threading.Timer(TIME_FOR_A_MODEL, process.kill)
        timer.start()
        process.stdin.write(json.dumps({"path": str(path), "stages": args.stages}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        timer.cancel()
        if line:
            results[name] = json.loads(line)
        else:
            code = process.wait()
            results[name] = {"cuts": [], "sets": 0, "broken": f"the process ended with {code}"}
            process = None
        results[name]["seconds"] = round(time.monotonic() - started, 2)
        show()
    if process is not None:
        process.stdin.close()
        process.wait()


def reason(message: str) -> str:
    """A message without what is particular to one model."""
    message = message.splitlines()[-1] if message else ""
    message = re.sub(r"^(Error|distinfer): ", "", message)
    message = re.sub(r"\S*\.onnx: ", "", message)
    message = re.sub(r'"[^"]*"', '"…"', message)
    return re.sub(r"\b\d+\b", "N", message)[:220]


def report(results: dict, stages: int) -> bool:
    groups = collections.defaultdict(collections.Counter)
    for name, r in results.items():
        group = groups[name.split("/")[0]]
        group["models"] += 1
        group["skipped"] += "skipped" in r
        group["broken"] += "broken" in r
        group["random"] += bool(r.get("random"))
        for c in r["cuts"]:
            group[c["verdict"]] += 1
            group["cuts"] += c["verdict"] != "refused"
            group["in 2 or more"] += c["verdict"] != "refused" and c["stages"] > 1
        group["disagree"] += disagrees(r)
    columns = ["models", "skipped", "cuts", "in 2 or more", "exact", "close", "refused", "wrong", "disagree", "broken"]
    groups["all"] = sum(groups.values(), collections.Counter())
    print(f"\n{'':12}" + "".join(f"{c:>13}" for c in columns))
    for name, group in groups.items():
        print(f"{name:12}" + "".join(f"{group[c]:>13}" for c in columns))
    print(
        "\nskipped: ONNX Runtime itself does not load or run the model; cuts: splits that were made, in 1 to"
        f" {stages} stages;\nexact: every bit the same; close: within 1e-4 of the largest magnitude, or 1e-2 in a model with floats of 16 bits and less;\n"
        "disagree: distinfer's own verification finds something else; broken: the comparison itself failed"
    )

    def listing(title: str, entries: list[tuple[str, str]], names: int) -> None:
        if not entries:
            return
        print(f"\n{title}")
        by_reason = collections.defaultdict(list)
        for text, name in entries:
            by_reason[text].append(name)
        for text, where in sorted(by_reason.items(), key=lambda x: -len(x[1])):
            more = "" if len(where) <= names else f" and {len(where) - names} more"
            print(f"  {len(where):>5}  {text}\n         {', '.join(where[:names])}{more}")

    def cuts(verdict: str) -> list[tuple[str, str]]:
        return [
            (reason(c["message"]) if verdict == "refused" else c["message"], f"{name} ({c['stages']})")
            for name, r in results.items()
            for c in r["cuts"]
            if c["verdict"] == verdict
        ]

    listing("Skipped", [(r["skipped"], n) for n, r in results.items() if "skipped" in r], 4)
    listing("Refused, by reason", cuts("refused"), 4)
    listing("Split, but not verified by distinfer", [(reason(r["verified"]), n) for n, r in results.items() if r.get("verified")], 4)
    listing("Close: the largest differences", [
        (f"up to {max(c['difference'] for c in r['cuts']):.1e}", n)
        for n, r in results.items() if any(c["verdict"] == "close" for c in r["cuts"])
    ], 4)  # fmt: skip
    listing("WRONG", cuts("wrong"), 1000)
    listing("DISAGREES", [(r["verified"], n) for n, r in results.items() if disagrees(r)], 1000)
    listing("BROKEN", [(r["broken"], n) for n, r in results.items() if "broken" in r], 1000)
    return not any(groups["all"][c] for c in ("wrong", "disagree", "broken"))


def disagrees(r: dict) -> bool:
    """Whether distinfer's own verification says anything else than was found here."""
    if "verified" not in r or r.get("random"):
        return False
    found_wrong = any(c["verdict"] == "wrong" for c in r["cuts"])
    says_wrong = bool(r["verified"]) and "cannot verify" not in r["verified"]
    return says_wrong and not found_wrong


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=REPOSITORY / ".setup/conformance/models", help="folder with models (%(default)s)")
    p.add_argument("--only", default="", help="regular expression that a model's path must match")
    p.add_argument("--stages", type=int, default=4, help="largest number of stages (%(default)s)")
    p.add_argument("--json", type=Path, default=REPOSITORY / ".setup/conformance/results.json", help="file for every result (%(default)s)")
    p.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    p.add_argument("--optimize", action="store_true", help="let split leave out positions that nobody reads; without it stages compute all that the whole model does")
    p.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.worker:
        worker(args.optimize)
        return 0
    if not BINARY.is_file():
        sys.exit(f"compare.py: there is no {BINARY.relative_to(REPOSITORY)}; run make build")
    models = args.models.resolve()
    found = {}
    for path in sorted(models.rglob("*.onnx")):
        name = str(path.parent.relative_to(models) if path.name == "model.onnx" else path.relative_to(models))
        if re.search(args.only, name):
            found[name] = path
    if not found:
        sys.exit(f"compare.py: no model under {args.models} matches {args.only!r}")
    tasks = queue.Queue()
    # The largest first, so that no worker is left alone with one at the end.
    for name in sorted(found, key=lambda n: -found[n].stat().st_size):
        tasks.put((name, found[name]))
    results, started = {}, time.monotonic()

    def show() -> None:
        if sys.stderr.isatty():
            print(f"\r{len(results)} of {len(found)} models", end="", file=sys.stderr, flush=True)

    workers = [threading.Thread(target=serve, args=(tasks, results, args, show)) for _ in range(args.jobs)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    results = {name: results[name] for name in found if name in results}
    args.json.write_text(json.dumps(results, indent=1) + "\n")
    good = report(results, args.stages)
    print(f"\n{len(results)} models in {time.monotonic() - started:.0f} s; every result is in {args.json}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
