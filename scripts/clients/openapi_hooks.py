"""What schemathesis has to know of a front beyond its OpenAPI document."""

import copy
import itertools
import json
import os

import jsonschema_rs
import schemathesis

# The metadata of the models that the front serves, by the Open Inference Protocol.
MODELS = json.loads(os.environ["DISTINFER_MODELS"])

# What the inputs take that models have, by name.
ELEMENTS = {
    "input_ids": {"type": "integer", "minimum": 0, "maximum": 99},
    "attention_mask": {"const": 1},
    "token_type_ids": {"const": 0},
    "text": {"type": "string", "minLength": 1},
}

status = None  # checks what an event says


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """Sends text as it is, and anything else as one line of JSON."""
    if not isinstance(value, (str, bytes)):
        value = json.dumps(value)
    return {"data": value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")}


@schemathesis.hook
def before_load_schema(_, document):
    """Says what depends on the model that is served, which a schema for all leaves open."""
    global status
    components = document["components"]
    status = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Status", "components": components})
    components["parameters"]["Model"]["schema"] = {"enum": [model["name"] for model in MODELS]}
    # OpenAPI 3.1 knows no streams; schemathesis describes an event, as 3.2 does.
    stream = document["paths"]["/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    stream["schema"] = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
    for body in ("Texts", "OpenAITexts"):
        if body in components["requestBodies"]:
            fields = components["requestBodies"][body]["content"]["application/json"]["schema"]["properties"]
            fields["dimensions"] = {"type": "null"}
            if "prompt_name" in fields:
                fields["prompt_name"] = {"enum": [None, ""]}
    paths = document["paths"]
    for path in [path for path in paths if path.endswith("/infer")]:
        for model in MODELS:
            paths[path.format(model=model["name"], version="1")] = inference(paths[path], model)


def inference(described, model):
    """A path for one model, with bodies that it takes."""
    operation = copy.deepcopy(described["post"])
    operation["operationId"] += "_" + model["name"]
    operation["parameters"] = [one for one in operation["parameters"] if not one["$ref"].endswith("/HeaderLength")]
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": request(model)}}}
    return {"post": operation}


def request(model):
    """A schema of what the model takes: its inputs of the same sizes, and any of its outputs."""
    sizes = [itertools.repeat(1), [2, 4], [3, 2]]  # of the dimensions that are not fixed
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "inputs": {"anyOf": [fixed([tensor(one, of) for one in model["inputs"]]) for of in sizes]},
            "outputs": {"type": ["array", "null"], "maxItems": 1, "items": {"anyOf": [output(one) for one in model["outputs"]]}},
            "parameters": {
                "type": ["object", "null"],
                "properties": {"timeout": {"type": "integer", "minimum": 60_000_000}, "binary_data_output": {"type": "boolean"}},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }


def fixed(items):
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def tensor(described, sizes):
    shape = [size if of < 0 else of for of, size in zip(described["shape"], sizes)]
    count, nested = 1, ELEMENTS[described["name"]]
    for size in reversed(shape):
        count, nested = count * size, {"type": "array", "items": nested, "minItems": size, "maxItems": size}
    flat = {"type": "array", "items": ELEMENTS[described["name"]], "minItems": count, "maxItems": count}
    return constant(described, shape=fixed([{"const": size} for size in shape]), data={"anyOf": [flat, nested]})


def output(described):
    return constant({"name": described["name"]}, parameters={"type": ["object", "null"], "properties": {"binary_data": {"type": "boolean"}}, "additionalProperties": False})


def constant(described, **fields):
    """An object with what is described, and fields that are so instead."""
    properties = {name: {"const": value} for name, value in described.items()} | fields
    required = [name for name in properties if name != "parameters"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@schemathesis.check
def events_are_statuses(_, response, case):
    """The data of every event is what /status answers."""
    if case.operation.path != "/events" or case.method != "GET" or response.status_code != 200:
        return
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert data, "there is no event"
    for one in data:
        status.validate(json.loads(one))
