"""Asks a front with the inference clients of KServe's SDK, as it is installed. It is told
on standard input what to ask and what the answers must be, as triton_client.py is."""

import asyncio
import importlib.metadata
import json
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(model, arrays, outputs=None, binary=True, params=None):
    inputs = []
    for name, array in arrays.items():
        datatype = "BYTES" if array.dtype == np.object_ else array.dtype.name.upper().replace("FLOAT", "FP")
        one = InferInput(name, list(array.shape), datatype)
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    return InferRequest(model, inputs, request_outputs=outputs, parameters=params or {})


def close(got, want):
    assert got.shape == want.shape and np.abs(got - want).max() <= 1e-4, f"{got}, not {want}"


async def ask(name, ready, infer, task):
    model = task["model"]
    arrays = {n: np.array(v, dtype=np.int64) for n, v in task["inputs"].items()}
    logits = np.array(task["logits"], dtype=np.float32)
    assert await ready() == [True, True, True]
    for binary in (True, False):
        answer = await infer(model, request(model, arrays, binary=binary))
        close(answer.outputs[0].as_numpy(), logits)
        assert answer.model_name == model and answer.outputs[0].name == "logits"
        answer = await infer(model, request(model, arrays, [RequestedOutput("logits", {"binary_data": binary})], binary))
        close(answer.outputs[0].as_numpy(), logits)
    answer = await infer(model, request(model, arrays, params={"binary_data_output": True}))
    close(answer.outputs[0].as_numpy(), logits)
    print(model, name, "tensors right")
    texts = np.array([t.encode() for t in task["texts"]], dtype=np.object_)
    for binary in (True, False):
        answer = await infer(model + "-text", request(model + "-text", {"text": texts}, binary=binary))
        got = answer.get_output_by_name("label").as_numpy()
        labels = [v.decode() if isinstance(v, bytes) else str(v) for v in got.flatten()]
        assert labels == task["labels"], labels
    print(model, name, "texts right")
    wrong = {n: a.astype(np.float32) for n, a in arrays.items()}
    try:
        await infer(model, request(model, wrong))
    except httpx.HTTPStatusError as e:
        assert e.response.status_code == 400 and "the model wants INT64" in str(e), e
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.INVALID_ARGUMENT and "the model wants INT64" in e.details(), e
    else:
        raise AssertionError("another type is not refused")
    print(model, name, "refusal right")


async def main():
    task = json.load(sys.stdin)
    print("kserve", importlib.metadata.version("kserve"))
    url = "http://" + task["http"]
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as rest:

        async def rest_ready():
            return [await rest.is_server_live(url), await rest.is_server_ready(url), await rest.is_model_ready(url, task["model"])]

        await ask("InferenceRESTClient", rest_ready, lambda model, r: rest.infer(url, r, model_name=model), task)
    async with InferenceGRPCClient(task["grpc"]) as client:

        async def grpc_ready():
            return [await client.is_server_live(), await client.is_server_ready(), await client.is_model_ready(task["model"])]

        await ask("InferenceGRPCClient", grpc_ready, lambda _, r: client.infer(r), task)


asyncio.run(main())
