"""Asks a server with the unmodified client of Hugging Face's inference API, and prints
what the client returns: huggingface.py URL METHOD ARGUMENTS, a JSON list of the named
arguments of each call."""

import json
import sys

import huggingface_hub

url, method, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
ask = getattr(huggingface_hub.InferenceClient(model=url, timeout=60), method)

json.dump(
    {"version": huggingface_hub.__version__, "answers": [ask(**call) for call in calls]},
    sys.stdout,
    default=lambda array: array.tolist(),
)
