"""Write a fine-tuned BERT classifier as model.onnx, tokenizer.json and config.json.

The graph is written node by node, so that it is small and cuts well between layers:

- inputs input_ids and attention_mask, both int64 [batch, sequence]; output logits, float32 [batch, 2];
- weights are stored as float16 and computed with in float32;
- the embedding of token type 0 is part of the position table, for there is no token_type_ids input;
- one mask, made once from attention_mask, is shared by all layers;
- every node is named after the layer that it belongs to.

Example:

    python export.py --checkpoint build/checkpoint --out ../../../models/sst2-minilm
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from transformers import BertForSequenceClassification

from sst2 import MODEL
from train import base_model

OPSET = 17
MASKED = -10000.0


class GraphWriter:
    """Collects nodes and initializers; a node's output carries the node's name and _output_0."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Store an array once and return its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def vector(self, name: str) -> str:
        return self.constant(name, self.weights[name].astype(np.float32))

    def half(self, name: str, value: np.ndarray) -> str:
        return self.constant(name, value.astype(np.float16))

    def node(self, scope: str, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        name = f"{scope}/{op}"
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def product(self, scope: str, prefix: str, x: str) -> str:
        """x · weight, the weight stored as float16 in the order that MatMul reads."""
        stored = self.half(f"{prefix}.weight", self.weights[f"{prefix}.weight"].T)
        weight = self.node(f"{scope}/weight", "Cast", stored, to=TensorProto.FLOAT)
        return self.node(scope, "MatMul", x, weight)

    def linear(self, scope: str, prefix: str, x: str, output: str | None = None) -> str:
        """x · weight + bias."""
        return self.node(scope, "Add", self.product(scope, prefix, x), self.vector(f"{prefix}.bias"), output=output)

    def residual(self, scope: str, prefix: str, x: str, skipped: str) -> str:
        """x · weight + skipped + bias.

        The bias comes last because ONNX Runtime would otherwise fuse the sum with the layer
        norm after it into SkipLayerNormalization, which is slower on a CPU than the two apart.
        """
        total = self.node(f"{scope}/residual", "Add", self.product(scope, prefix, x), skipped)
        return self.node(scope, "Add", total, self.vector(f"{prefix}.bias"))

    def layer_norm(self, scope: str, prefix: str, x: str, epsilon: float) -> str:
        scale, bias = self.vector(f"{prefix}.weight"), self.vector(f"{prefix}.bias")
        return self.node(scope, "LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def gelu(self, scope: str, x: str) -> str:
        """x · (1 + erf(x / √2)) / 2, in the order that ONNX Runtime recognises as Gelu."""
        scaled = self.node(scope, "Div", x, self.scalar("sqrt_2", 2**0.5))
        erf = self.node(scope, "Erf", scaled)
        shifted = self.node(f"{scope}/shift", "Add", erf, self.scalar("one", 1.0))
        product = self.node(f"{scope}/product", "Mul", x, shifted)
        return self.node(f"{scope}/half", "Mul", product, self.scalar("half", 0.5))


def build(model: BertForSequenceClassification) -> onnx.ModelProto:
    """Return the ONNX model of a BERT classifier."""
    config = model.config
    hidden, heads, epsilon = config.hidden_size, config.num_attention_heads, config.layer_norm_eps
    g = GraphWriter({name: tensor.float().numpy() for name, tensor in model.state_dict().items()})

    scope = "/embeddings"
    w = "bert.embeddings.{}_embeddings.weight"
    table = g.half(w.format("word"), g.weights[w.format("word")])
    words = g.node(f"{scope}/word", "Gather", table, "input_ids", axis=0)
    words = g.node(f"{scope}/word", "Cast", words, to=TensorProto.FLOAT)
    table = g.half(w.format("position"), g.weights[w.format("position")] + g.weights[w.format("token_type")][0])
    length = g.node(f"{scope}/position", "Shape", "input_ids", start=1, end=2)
    rows = g.node(f"{scope}/position", "Slice", table, g.integers("axis_0", 0), length, g.integers("axis_0", 0))
    rows = g.node(f"{scope}/position", "Cast", rows, to=TensorProto.FLOAT)
    x = g.node(scope, "Add", words, rows)
    x = g.layer_norm(scope, "bert.embeddings.LayerNorm", x, epsilon)

    mask = g.node("/mask/heads", "Unsqueeze", "attention_mask", g.integers("axis_1", 1))
    mask = g.node("/mask/queries", "Unsqueeze", mask, g.integers("axis_2", 2))
    mask = g.node("/mask", "Cast", mask, to=TensorProto.FLOAT)
    mask = g.node("/mask", "Sub", g.scalar("one", 1.0), mask)
    mask = g.node("/mask", "Mul", mask, g.scalar("masked", MASKED))

    split = g.integers("shape_split_heads", 0, 0, heads, hidden // heads)
    merge = g.integers("shape_merge_heads", 0, 0, hidden)
    for i in range(config.num_hidden_layers):
        scope, prefix = f"/encoder/layer.{i}", f"bert.encoder.layer.{i}"
        at = f"{scope}/attention"
        parts = []
        for name, order in ("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]):
            y = g.linear(f"{at}/{name}", f"{prefix}.attention.self.{name}", x)
            y = g.node(f"{at}/{name}", "Reshape", y, split)
            parts.append(g.node(f"{at}/{name}", "Transpose", y, perm=order))
        query, key, value = parts
        scores = g.node(f"{at}/scores", "MatMul", query, key)
        scores = g.node(f"{at}/scores", "Div", scores, g.scalar("sqrt_head_size", (hidden // heads) ** 0.5))
        scores = g.node(f"{at}/scores", "Add", scores, mask)
        shares = g.node(f"{at}/scores", "Softmax", scores, axis=-1)
        context = g.node(f"{at}/context", "MatMul", shares, value)
        context = g.node(f"{at}/context", "Transpose", context, perm=[0, 2, 1, 3])
        context = g.node(f"{at}/context", "Reshape", context, merge)
        x = g.residual(f"{at}/output", f"{prefix}.attention.output.dense", context, x)
        x = g.layer_norm(at, f"{prefix}.attention.output.LayerNorm", x, epsilon)
        y = g.gelu(f"{scope}/gelu", g.linear(f"{scope}/intermediate", f"{prefix}.intermediate.dense", x))
        x = g.residual(f"{scope}/output", f"{prefix}.output.dense", y, x)
        x = g.layer_norm(scope, f"{prefix}.output.LayerNorm", x, epsilon)

    first = g.node("/pooler", "Gather", x, g.constant("first_token", np.array(0, dtype=np.int64)), axis=1)
    pooled = g.node("/pooler", "Tanh", g.linear("/pooler", "bert.pooler.dense", first))
    g.linear("/classifier", "classifier", pooled, output="logits")

    shape = ["batch", "sequence"]
    graph = helper.make_graph(
        g.nodes,
        "sst2-minilm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", config.num_labels])],
        list(g.initializers.values()),
    )
    return helper.make_model(
        graph, producer_name="distinfer", ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)]
    )


def server_tokenizer(source: Path) -> str:
    """Return the package's tokenizer.json with a server's truncation and padding."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    tokenizer["truncation"] = {"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}
    tokenizer["padding"]["strategy"] = "BatchLongest"
    return json.dumps(tokenizer, ensure_ascii=False, indent=1) + "\n"


def put(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("build/checkpoint"), help="folder that train.py wrote")
    parser.add_argument("--base", type=Path, help="folder with tokenizer.json (default: from the package)")
    parser.add_argument("--out", type=Path, default=MODEL, help="folder for the three files")
    args = parser.parse_args()

    model = BertForSequenceClassification.from_pretrained(args.checkpoint)
    exported = build(model)
    onnx.checker.check_model(exported, full_check=True)
    args.out.mkdir(parents=True, exist_ok=True)
    put(args.out / "model.onnx", exported.SerializeToString(deterministic=True))
    put(args.out / "tokenizer.json", server_tokenizer((args.base or base_model()) / "tokenizer.json").encode())
    put(args.out / "config.json", (args.checkpoint / "config.json").read_bytes().rstrip() + b"\n")
    print(f"{args.out / 'model.onnx'}: {(args.out / 'model.onnx').stat().st_size} bytes")


if __name__ == "__main__":
    main()
