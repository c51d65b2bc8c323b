"""Make the variants of an exported file, as the usual tools make them."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


def apply(variant: str, path: Path, feeds: list[dict], kind: str, heads: int, hidden: int) -> Path:
    """Write the variant beside path, with the name that its tool gives it, and remove path.
    Returns the path of the variant. Feeds are inputs to calibrate with."""
    if variant == "float32":
        return path
    if variant == "external":
        model = onnx.load(path)
        for old in path.parent.glob(f"{path.name}*"):
            old.unlink()
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}_data", size_threshold=64)
        return path
    made = path.with_name({"float16": "model_fp16.onnx", "int8": "model_quantized.onnx", "qdq": "model_qdq.onnx"}.get(variant, f"model_{variant}.onnx"))
    if variant == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True, op_block_list=["Range"]), made)
    elif variant == "int8":
        quantize_dynamic(path, made, weight_type=QuantType.QInt8)
    elif variant == "qdq":
        prepared = path.with_name("prepared.onnx")
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        reader = _Reader(feeds)
        quantize_static(str(prepared), str(made), reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul", "Gemm"])
        prepared.unlink()
    else:
        _fuse(path, made, variant, kind, heads, hidden)
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    return made


class _Reader(CalibrationDataReader):
    """Hands out feeds one by one."""

    def __init__(self, feeds: list[dict]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> dict | None:
        return next(self.feeds, None)


def _fuse(path: Path, made: Path, level: str, kind: str, heads: int, hidden: int) -> None:
    """Fuse nodes as optimum's levels O2 and O3 do."""
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions(kind)
    options.enable_gelu_approximation = level == "O3"
    shutil.copy(path, made)
    optimized = optimize_model(str(made), model_type=kind, num_heads=heads, hidden_size=hidden, opt_level=1, optimization_options=options, use_gpu=False)
    optimized.save_model_to_file(str(made))
