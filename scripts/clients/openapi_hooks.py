"""What schemathesis has to know of a front beyond its OpenAPI document."""

import json
import os

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """Sends text as it is, and anything else as one line of JSON."""
    if not isinstance(value, (str, bytes)):
        value = json.dumps(value)
    return {"data": value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")}


@schemathesis.hook
def before_load_schema(_, document):
    """Says what depends on the model that is served, which a schema for all leaves open."""
    components, model = document["components"], os.environ["DISTINFER_MODEL"]
    components["parameters"]["Model"]["schema"] = {"enum": [model, f"{model}-text"]}
    for body in ("Texts", "OpenAITexts"):
        if body in components["requestBodies"]:
            fields = components["requestBodies"][body]["content"]["application/json"]["schema"]["properties"]
            fields["dimensions"] = {"type": "null"}
            if "prompt_name" in fields:
                fields["prompt_name"] = {"enum": [None, ""]}
