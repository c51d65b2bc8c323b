"""Write models/sst2-minilm with 8-bit weights and static scales, from its model.onnx alone.

The graph is written anew, node by node, of standard operators:

- the products with weight matrices take integers: QuantizeLinear with a scale that is a constant,
  then DequantizeLinear, MatMul and the weight's DequantizeLinear, which ONNX Runtime makes one
  integer product. Everything between them is float32 and looks at one sentence at a time;
- weights are whole numbers from -64 to 64, a scale a column. Processors without VNNI multiply
  8-bit integers in pairs and keep 16 bits of the sum, and 2 · 255 · 64 fits into these;
- scales of activations are the smallest and largest values seen in sentences of the train split.
  Where one column is much larger than the others, columns are made more even before;
- embeddings have 8 bits and a scale a row;
- the last layer computes what the first token's answer needs, and nothing else;
- GELU is its approximation with tanh.

Example:

    python quantize.py
    python quantize.py --float32 build/float32.onnx    # the same graph without integers, to compare
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).resolve().parents[1] / "sst2-minilm"))
from sst2 import DATA, MODEL, read_split  # noqa: E402

OUT = MODEL.with_name("sst2-minilm-int8")
OPSET = 17
MASKED = -10000.0
EVENED = "/attention/LayerNormalization_output_0"  # has a column that is ten times as large as most
LARGEST = 64  # of a weight: 2 · 255 · 64 < 2^15
HIDDEN, HEADS, LAYERS = 384, 12, 6
HEAD = HIDDEN // HEADS

Arrays = dict[str, np.ndarray]


class Rounding(NamedTuple):
    """How a value becomes integers."""

    scale: np.float32
    zero_point: np.uint8
    evened: np.ndarray | None  # what each of its columns is divided by before


Roundings = dict[str, Rounding]  # by the name of the value


def read_weights(path: Path) -> tuple[Arrays, float]:
    """Return the weights of a model.onnx as float32, and the epsilon of its layer norms."""
    graph = onnx.load(path).graph
    weights = {
        t.name: numpy_helper.to_array(t).astype(np.float32)
        for t in graph.initializer
        if t.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    norm = next(node for node in graph.node if node.op_type == "LayerNormalization")
    return weights, next(a.f for a in norm.attribute if a.name == "epsilon")


def fold(weights: Arrays) -> Arrays:
    """Return weights that give the same answers with fewer operations.

    The square root that scores are divided by becomes part of the query. The key's bias adds the
    same to all scores of a query, which softmax ignores. The value's bias comes out of attention as it
    went in, for the shares add up to one, and becomes part of the next bias.
    """
    folded = dict(weights)
    for i in range(LAYERS):
        prefix = f"bert.encoder.layer.{i}.attention"
        for kind in "weight", "bias":
            folded[f"{prefix}.self.query.{kind}"] = weights[f"{prefix}.self.query.{kind}"] / np.float32(HEAD**0.5)
        del folded[f"{prefix}.self.key.bias"]
        after = folded.pop(f"{prefix}.self.value.bias") @ weights[f"{prefix}.output.dense.weight"]
        folded[f"{prefix}.output.dense.bias"] = weights[f"{prefix}.output.dense.bias"] + after
    return folded


def integers(values: np.ndarray, largest: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return values as 8-bit integers, and the scales along the other axis."""
    scale = np.abs(values).max(axis=axis, keepdims=True) / np.float32(largest)
    scale[scale == 0] = 1
    return np.round(values / scale).astype(np.int8), scale


class GraphWriter:
    """Collects nodes and initializers. Without roundings everything stays float32."""

    def __init__(self, weights: Arrays, epsilon: float, roundings: Roundings | None) -> None:
        self.weights = weights
        self.epsilon = epsilon
        self.roundings = roundings
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.products: dict[str, str | None] = {}  # what products take, and what it is dequantised to

    def constant(self, name: str, value: np.ndarray) -> str:
        """Store an array once and return its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def node(self, scope: str, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        name = f"{scope}/{op}"
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def half(self, scope: str, name: str, value: np.ndarray) -> str:
        """A weight that is stored as float16 and computed with in float32."""
        stored = self.constant(name, value.astype(np.float16))
        return self.node(scope, "Cast", stored, to=TensorProto.FLOAT)

    def quantized(self, x: str) -> str:
        """x, rounded to one of 256 values. It is done once, however many products take x."""
        if x in self.products:
            return self.products[x] or x
        self.products[x] = None
        if self.roundings is None:
            return x
        scope = x.rsplit("/", 1)[0]
        scale, zero_point, evened = self.roundings[x]
        even = x
        if evened is not None:
            even = self.node(f"{scope}/even", "Mul", x, self.constant(f"{scope}.evened", 1 / evened))
        with_scale = self.constant(f"{scope}.scale", scale), self.constant(f"{scope}.zero_point", zero_point)
        rounded = self.node(scope, "QuantizeLinear", even, *with_scale)
        self.products[x] = self.node(scope, "DequantizeLinear", rounded, *with_scale)
        return self.products[x]

    def product(self, scope: str, prefix: str, x: str) -> str:
        """x · weight."""
        name = f"{prefix}.weight"
        weight, rounded = self.weights[name], self.quantized(x)
        if self.roundings is None:
            return self.node(scope, "MatMul", x, self.constant(name, weight))
        if self.roundings[x].evened is not None:
            weight = weight * self.roundings[x].evened[:, np.newaxis]
        values, scale = integers(weight, LARGEST, axis=0)
        stored = self.constant(name, values), self.constant(f"{name}.scale", scale[0])
        return self.node(scope, "MatMul", rounded, self.node(f"{scope}/weight", "DequantizeLinear", *stored, axis=1))

    def biased(self, scope: str, prefix: str, x: str, output: str | None = None) -> str:
        name = f"{prefix}.bias"
        return self.node(scope, "Add", x, self.constant(name, self.weights[name]), output=output)

    def residual(self, scope: str, prefix: str, x: str, skipped: str) -> str:
        """x · weight + skipped + bias; in this order, ONNX Runtime does not fuse it with the layer norm."""
        total = self.node(f"{scope}/residual", "Add", self.product(scope, prefix, x), skipped)
        return self.biased(scope, prefix, total)

    def head(self, scope: str, prefix: str, x: str, output: str | None = None) -> str:
        """x · weight + bias of a small float layer, which comes once a sentence."""
        weight = self.half(f"{scope}/weight", f"{prefix}.weight", self.weights[f"{prefix}.weight"])
        return self.biased(scope, prefix, self.node(scope, "MatMul", x, weight), output=output)

    def layer_norm(self, scope: str, prefix: str, x: str) -> str:
        scale, bias = (self.constant(name, self.weights[name]) for name in (f"{prefix}.weight", f"{prefix}.bias"))
        return self.node(scope, "LayerNormalization", x, scale, bias, axis=-1, epsilon=self.epsilon)

    def gelu(self, scope: str, x: str) -> str:
        """x · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2, in the order that ONNX Runtime recognises."""
        cube = self.node(f"{scope}/cube", "Pow", x, self.scalar("three", 3.0))
        cube = self.node(f"{scope}/cube", "Mul", cube, self.scalar("gelu_cube", 0.044715))
        inner = self.node(f"{scope}/inner", "Add", x, cube)
        inner = self.node(f"{scope}/inner", "Mul", inner, self.scalar("sqrt_2_pi", (2 / np.pi) ** 0.5))
        tanh = self.node(scope, "Tanh", inner)
        shifted = self.node(f"{scope}/shift", "Add", tanh, self.scalar("one", 1.0))
        halved = self.node(f"{scope}/half", "Mul", x, self.scalar("half", 0.5))
        return self.node(scope, "Mul", halved, shifted)

    def embeddings(self) -> str:
        scope, name = "/embeddings", "bert.embeddings.word_embeddings.weight"
        values, scale = integers(self.weights[name], 127, axis=1)
        words = self.node(f"{scope}/word", "Gather", self.constant(name, values), "input_ids", axis=0)
        words = self.node(f"{scope}/word", "Cast", words, to=TensorProto.FLOAT)
        scale = self.node(f"{scope}/word/scale", "Gather", self.constant(f"{name}.scale", scale), "input_ids", axis=0)
        words = self.node(f"{scope}/word", "Mul", words, scale)
        name = "bert.embeddings.position_embeddings.weight"
        table = self.constant(name, self.weights[name].astype(np.float16))
        length = self.node(f"{scope}/position", "Shape", "input_ids", start=1, end=2)
        rows = self.node(f"{scope}/position", "Slice", table, self.integers("axis_0", 0), length, self.integers("axis_0", 0))
        rows = self.node(f"{scope}/position", "Cast", rows, to=TensorProto.FLOAT)
        return self.layer_norm(scope, "bert.embeddings.LayerNorm", self.node(scope, "Add", words, rows))

    def mask(self) -> tuple[str, str]:
        """What is added to scores, for one row of them a head and for one a token."""
        mask = self.node("/mask/queries", "Unsqueeze", "attention_mask", self.integers("axis_1", 1))
        mask = self.node("/mask", "Cast", mask, to=TensorProto.FLOAT)
        mask = self.node("/mask", "Sub", self.scalar("one", 1.0), mask)
        mask = self.node("/mask", "Mul", mask, self.scalar("masked", MASKED))
        return mask, self.node("/mask/heads", "Unsqueeze", mask, self.integers("axis_2", 2))

    def attention(self, scope: str, prefix: str, x: str, mask: str) -> str:
        """What every token gathers from all tokens."""
        split = self.integers("shape_split_heads", 0, 0, HEADS, HEAD)
        parts = []
        for name, order in ("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]):
            y = self.product(f"{scope}/{name}", f"{prefix}.{name}", x)
            if name == "query":
                y = self.biased(f"{scope}/{name}", f"{prefix}.{name}", y)
            y = self.node(f"{scope}/{name}", "Reshape", y, split)
            parts.append(self.node(f"{scope}/{name}", "Transpose", y, perm=order))
        query, key, value = parts
        scores = self.node(f"{scope}/scores", "MatMul", query, key)
        scores = self.node(f"{scope}/scores", "Add", scores, mask)
        shares = self.node(f"{scope}/scores", "Softmax", scores, axis=-1)
        context = self.node(f"{scope}/context", "MatMul", shares, value)
        context = self.node(f"{scope}/context", "Transpose", context, perm=[0, 2, 1, 3])
        return self.node(f"{scope}/context", "Reshape", context, self.integers("shape_merge_heads", 0, 0, HIDDEN))

    def first_attention(self, scope: str, prefix: str, x: str, first: str, mask: str) -> str:
        """What the first token gathers from all tokens.

        query · (x · key) is (query · key) · x, and the shares of x · value are (the shares of x) ·
        value, so that the two large products are with one row a head, and not with one a token.
        """
        query = self.biased(f"{scope}/query", f"{prefix}.query", self.product(f"{scope}/query", f"{prefix}.query", first))
        query = self.node(f"{scope}/query", "Reshape", query, self.integers("shape_query_heads", 0, HEADS, 1, HEAD))
        name = f"{prefix}.key.weight"
        by_head = self.weights[name].reshape(HIDDEN, HEADS, HEAD).transpose(1, 2, 0)
        key = self.node(f"{scope}/key", "MatMul", query, self.half(f"{scope}/key/weight", name, by_head))
        key = self.node(f"{scope}/key", "Reshape", key, self.integers("shape_keys", 0, HEADS, HIDDEN))
        key = self.node(f"{scope}/key", "Transpose", key, perm=[0, 2, 1])
        # In this order each score is summed up alike however many tokens there are.
        scores = self.node(f"{scope}/scores", "MatMul", x, key)
        scores = self.node(f"{scope}/scores", "Transpose", scores, perm=[0, 2, 1])
        scores = self.node(f"{scope}/scores", "Add", scores, mask)
        shares = self.node(f"{scope}/scores", "Softmax", scores, axis=-1)
        context = self.node(f"{scope}/context", "MatMul", shares, x)
        context = self.node(f"{scope}/context", "Unsqueeze", context, self.integers("axis_2", 2))
        name = f"{prefix}.value.weight"
        by_head = self.weights[name].reshape(HIDDEN, HEADS, HEAD).transpose(1, 0, 2)
        value = self.node(f"{scope}/value", "MatMul", context, self.half(f"{scope}/value/weight", name, by_head))
        return self.node(f"{scope}/value", "Reshape", value, self.integers("shape_first", 0, 1, HIDDEN))


def build(g: GraphWriter) -> onnx.ModelProto:
    """Return the model that a writer's weights and scales make."""
    x = g.embeddings()
    mask_of_first, mask = g.mask()
    for i in range(LAYERS):
        scope, prefix = f"/encoder/layer.{i}", f"bert.encoder.layer.{i}"
        at = f"{scope}/attention"
        if i < LAYERS - 1:
            context = g.attention(at, f"{prefix}.attention.self", x, mask)
        else:
            first = g.node(f"{at}/first", "Gather", x, g.integers("first_token", 0), axis=1)
            context = g.first_attention(at, f"{prefix}.attention.self", x, first, mask_of_first)
            x = first
        x = g.residual(f"{at}/output", f"{prefix}.attention.output.dense", context, x)
        x = g.layer_norm(at, f"{prefix}.attention.output.LayerNorm", x)
        name = f"{prefix}.intermediate.dense"
        y = g.biased(f"{scope}/intermediate", name, g.product(f"{scope}/intermediate", name, x))
        x = g.residual(f"{scope}/output", f"{prefix}.output.dense", g.gelu(f"{scope}/gelu", y), x)
        x = g.layer_norm(scope, f"{prefix}.output.LayerNorm", x)
    x = g.node("/pooler", "Squeeze", x, g.integers("axis_1", 1))
    pooled = g.node("/pooler", "Tanh", g.head("/pooler", "bert.pooler.dense", x))
    g.head("/classifier", "classifier", pooled, output="logits")

    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        g.nodes,
        "sst2-minilm-int8",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        list(g.initializers.values()),
    )
    return helper.make_model(
        graph, producer_name="distinfer", ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)]
    )


def calibrate(g: GraphWriter, model: onnx.ModelProto, tokenizer: Tokenizer, sentences: list[str]) -> Roundings:
    """Return roundings for which the values seen in the sentences are just not cut off."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = list(g.products)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = dict.fromkeys(names, np.float32(0)), dict.fromkeys(names, np.float32(0))  # a column
    for encoding in tokenizer.encode_batch(sentences):
        feed = {"input_ids": [encoding.ids], "attention_mask": [[1] * len(encoding.ids)]}
        values = session.run(names, {name: np.array(ids, dtype=np.int64) for name, ids in feed.items()})
        for name, value in zip(names, values):
            low[name] = np.minimum(low[name], value.min(axis=(0, 1)))
            high[name] = np.maximum(high[name], value.max(axis=(0, 1)))
    return {name: rounding(low[name], high[name], even=name.endswith(EVENED)) for name in names}


def rounding(low: np.ndarray, high: np.ndarray, even: bool) -> Rounding:
    """Return the rounding of a value whose columns are within the given bounds."""
    evened = None
    if even:
        size = np.maximum(-low, high)
        evened = np.sqrt(np.maximum(size / np.median(size), np.float32(0.25)))
        low, high = low / evened, high / evened
    scale = (high.max() - low.min()) / 255
    return Rounding(np.float32(scale), np.uint8(round(float(-low.min() / scale))), evened)


def put(model: onnx.ModelProto, path: Path) -> None:
    """Check a model, write it under a temporary name and rename it."""
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(partial, path)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the float32 model")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.tsv.gz")
    parser.add_argument("--sentences", type=int, default=400, help="how many of the train split to find scales with")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for model.onnx, tokenizer.json and config.json")
    parser.add_argument("--float32", type=Path, help="file to write the same graph without integers to")
    args = parser.parse_args()

    weights, epsilon = read_weights(args.model / "model.onnx")
    weights = fold(weights)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    unique = list(dict.fromkeys(sentence for _, sentence in read_split(args.data, "train")))
    chosen = [unique[i * len(unique) // args.sentences] for i in range(args.sentences)]

    floats = GraphWriter(weights, epsilon, None)
    model = build(floats)
    if args.float32:
        put(model, args.float32)
    roundings = calibrate(floats, model, tokenizer, chosen)
    put(build(GraphWriter(weights, epsilon, roundings)), args.out / "model.onnx")
    for name in "tokenizer.json", "config.json":
        shutil.copyfile(args.model / name, args.out / name)


if __name__ == "__main__":
    main()
