"""Asks a server with the unmodified client of Hugging Face's inference API, and prints
what the client returns: huggingface.py URL TEXT..."""

import json
import sys

import huggingface_hub

url, texts = sys.argv[1], sys.argv[2:]
client = huggingface_hub.InferenceClient(model=url, timeout=60)


def asked(text, **parameters):
    return [[r.label, r.score] for r in client.text_classification(text, **parameters)]


json.dump(
    {
        "version": huggingface_hub.__version__,
        "all": [asked(t) for t in texts],
        "top": [asked(t, top_k=1) for t in texts],
        "raw": [asked(t, function_to_apply="none") for t in texts],
        "sigmoid": [asked(t, function_to_apply="sigmoid") for t in texts],
    },
    sys.stdout,
)
