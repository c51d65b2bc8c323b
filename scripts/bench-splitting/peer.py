"""Cut a model into two with one of the other tools, where distinfer cut it.

    python peer.py TOOL MODEL PLAN OUT

PLAN is what `distinfer split --dry-run -o json` printed. ssp4onnx chooses its cuts
itself: it is given the size that makes two parts.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    tool, model, plan, out = sys.argv[1:]
    manifest = json.loads(Path(plan).read_text())["manifest"]
    stages = [([x["name"] for x in s["inputs"]], [x["name"] for x in s["outputs"]]) for s in manifest["stages"]]
    paths = [str(Path(out) / f"stage-{rank}.onnx") for rank in range(len(stages))]
    if tool == "extract_model":
        from onnx.utils import extract_model

        for (inputs, outputs), path in zip(stages, paths):
            extract_model(model, path, inputs, outputs)
    elif tool == "sne4onnx":
        from sne4onnx import extraction

        for (inputs, outputs), path in zip(stages, paths):
            extraction(inputs, outputs, input_onnx_file_path=model, output_onnx_file_path=path, non_verbose=True)
    elif tool == "ssp4onnx":
        from ssp4onnx import split

        largest = max(s["parameter_bytes"] for s in manifest["stages"])
        split(input_onnx_file_path=model, auto_split_max_size=f"{largest // 1024 + 1}KB", output_dir=out, non_verbose=True)
    else:
        sys.exit(f"peer.py: there is no tool {tool}")


main()
