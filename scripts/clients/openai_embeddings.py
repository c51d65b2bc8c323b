"""Asks a server for embeddings with OpenAI's unmodified client, and prints what the client
returns, whether the numbers were sent as base64, or how it was refused:
openai_embeddings.py URL ARGUMENTS, a JSON list of the named arguments of each call."""

import json
import sys

import openai

url, calls = sys.argv[1], json.loads(sys.argv[2])
client = openai.OpenAI(base_url=url + "/v1", api_key="none", timeout=60)


def asked(call):
    try:
        response = client.embeddings.with_raw_response.create(**call)
    except openai.BadRequestError as e:
        return {"refused": e.body}
    sent = json.loads(response.text)["data"][0]["embedding"]
    return {"list": response.parse().model_dump(), "base64": isinstance(sent, str)}


json.dump({"version": openai.__version__, "answers": [asked(c) for c in calls]}, sys.stdout)
