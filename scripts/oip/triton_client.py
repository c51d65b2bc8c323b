"""Asks a front with NVIDIA's tritonclient, as it is installed: over HTTP and gRPC, each of
them synchronous and not. It is told on standard input what to ask and what the answers
must be; see cmd/distinfer/open_inference_test.go. It prints a line for each part that was
right, and fails with the first thing that was not."""

import asyncio
import importlib.metadata
import inspect
import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

CLIENTS = {
    "http": tritonclient.http,
    "http.aio": tritonclient.http.aio,
    "grpc": tritonclient.grpc,
    "grpc.aio": tritonclient.grpc.aio,
}


async def settled(answer):
    """The answer of a client that may be asynchronous."""
    return await answer if inspect.isawaitable(answer) else answer


def inputs_of(module, arrays, **how):
    inputs = []
    for name, array in arrays.items():
        one = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(one.set_data_from_numpy(array, **how))
    return inputs


def same(got, want, what):
    assert got is not None, f"{what} is missing"
    assert got.shape == want.shape, f"{what} has shape {got.shape}, not {want.shape}"
    if want.dtype == np.object_:
        assert list(got.flatten()) == list(want.flatten()), f"{what}: {got}, not {want}"
        return
    assert got.dtype == want.dtype, f"{what} is {got.dtype}, not {want.dtype}"
    assert got.tobytes() == want.tobytes(), f"{what}: {got}, not {want}"


def close(got, want, what):
    assert got.dtype == np.float32 and got.shape == want.shape, f"{what}: {got}"
    assert np.abs(got - want).max() <= 1e-4, f"{what}: {got}, not {want}"


class Asking:
    def __init__(self, transport, task):
        self.transport, self.task = transport, task
        self.module = CLIENTS[transport]
        self.http = transport.startswith("http")
        self.client = self.module.InferenceServerClient(task["http" if self.http else "grpc"])

    async def infer(self, model, inputs, **more):
        return await settled(self.client.infer(model, inputs, **more))

    async def refused(self, says, call):
        try:
            await settled(call())
        except InferenceServerException as e:
            assert says in e.message(), f"{self.transport}: {e} does not say {says!r}"
            return
        raise AssertionError(f"{self.transport}: what should be refused with {says!r} is not")

    async def state(self):
        task, client = self.task, self.client
        assert await settled(client.is_server_live())
        assert await settled(client.is_server_ready())
        assert await settled(client.is_model_ready(task["model"]))
        assert await settled(client.is_model_ready(task["model"], "1"))
        as_json = {} if self.http else {"as_json": True}
        server = await settled(client.get_server_metadata(**as_json))
        assert server["name"] == "distinfer" and server["extensions"] == ["binary_tensor_data"], server
        model = await settled(client.get_model_metadata(task["model"], **as_json))
        assert model["name"] == task["model"] and model["versions"] == ["1"], model
        assert sorted(i["name"] for i in model["inputs"]) == sorted(task["inputs"]), model

    async def tensors(self):
        module, task = self.module, self.task
        arrays = {name: np.array(v, dtype=np.int64) for name, v in task["inputs"].items()}
        logits = np.array(task["logits"], dtype=np.float32)
        output = [module.InferRequestedOutput("logits")]
        variants = [{}, {"outputs": output}, {"request_id": "an id", "model_version": "1"}, {"timeout": 60_000_000}]
        if self.http:
            variants += [
                {"request_compression_algorithm": a, "response_compression_algorithm": b}
                for a, b in (("gzip", "gzip"), ("deflate", "deflate"), ("gzip", None), (None, "deflate"))
            ]
        else:
            variants += [{"compression_algorithm": "gzip"}, {"client_timeout": 60}]
        for more in variants:
            result = await self.infer(task["model"], inputs_of(module, arrays), **more)
            close(result.as_numpy("logits"), logits, f"{self.transport} {more}")
            answer = result.get_response() if self.http else result.get_response(as_json=True)
            assert answer["model_name"] == task["model"] and answer["model_version"] == "1", answer
            assert answer.get("id", "") == more.get("request_id", ""), answer
        if self.http:
            for binary_out in (False, True):
                output = [module.InferRequestedOutput("logits", binary_data=binary_out)]
                result = await self.infer(task["model"], inputs_of(module, arrays, binary_data=False), outputs=output)
                close(result.as_numpy("logits"), logits, "JSON")
        if not self.transport.endswith("aio"):
            await self.at_once(arrays, logits)

    async def at_once(self, arrays, logits):
        """Several requests at a time, in the client's own way."""
        inputs = inputs_of(self.module, arrays)
        if self.http:
            client = self.module.InferenceServerClient(self.task["http"], concurrency=8)
            pending = [client.async_infer(self.task["model"], inputs) for _ in range(24)]
            results = [p.get_result() for p in pending]
            client.close()
        else:
            import queue

            done = queue.Queue()
            for _ in range(24):
                self.client.async_infer(self.task["model"], inputs, lambda result, error: done.put((result, error)))
            results = []
            for _ in range(24):
                result, error = done.get(timeout=90)
                assert error is None, error
                results.append(result)
        for r in results:
            close(r.as_numpy("logits"), logits, "at once")

    async def texts(self):
        task, module = self.task, self.module
        name = task["model"] + "-text"
        texts = np.array([t.encode() for t in task["texts"]], dtype=np.object_)
        want = np.array([label.encode() for label in task["labels"]], dtype=np.object_)
        result = await self.infer(name, inputs_of(module, {"text": texts}))
        same(result.as_numpy("label"), want, "label")
        scores, labels = result.as_numpy("scores"), result.as_numpy("labels")
        assert scores.shape == (len(texts), len(labels)), scores
        best = scores.argmax(axis=1)
        same(labels[best], want, "the label of the highest score")
        same(result.as_numpy("score"), scores.max(axis=1), "score")
        one = await self.infer(name, inputs_of(module, {"text": texts}), outputs=[module.InferRequestedOutput("label")])
        same(one.as_numpy("label"), want, "label alone")
        assert one.as_numpy("score") is None

    async def refusals(self):
        task, module, client = self.task, self.module, self.client
        model = task["model"]
        arrays = {name: np.array(v, dtype=np.int64) for name, v in task["inputs"].items()}
        good = inputs_of(module, arrays)

        def infer(name=model, inputs=good, **more):
            return lambda: client.infer(name, inputs, **more)

        wrong_type = {n: a.astype(np.float32) for n, a in arrays.items()}
        wrong_rank = {n: a.flatten() for n, a in arrays.items()}
        await self.refused("there is no model", infer("another"))
        await self.refused("there is no version", infer(model_version="2"))
        await self.refused("no input", infer(inputs=good + inputs_of(module, {"more": np.zeros(1, np.int64)})))
        await self.refused("twice", infer(inputs=good + good[:1]))
        await self.refused("missing", infer(inputs=[]))
        await self.refused("the model wants INT64", infer(inputs=inputs_of(module, wrong_type)))
        await self.refused("has shape", infer(inputs=inputs_of(module, wrong_rank)))
        await self.refused("no output", infer(outputs=[module.InferRequestedOutput("another")]))
        await self.refused("classification", infer(outputs=[module.InferRequestedOutput("logits", class_count=1)]))
        await self.refused("sequence_id", infer(sequence_id=7, sequence_start=True))
        await self.refused("priority", infer(priority=3))
        await self.refused("no answer within 1µs", infer(timeout=1))
        shared = module.InferRequestedOutput("logits")
        shared.set_shared_memory("region", 64)
        await self.refused("shared_memory_region", infer(outputs=[shared]))
        # What the protocol has not, but the client can ask for.
        nothing = "there is nothing at" if self.http else "unknown method"
        for call in (
            client.get_model_repository_index,
            lambda: client.get_model_config(model),
            lambda: client.get_inference_statistics(model),
            lambda: client.register_system_shared_memory("region", "/region", 64),
        ):
            await self.refused(nothing, call)

    async def every_type(self):
        """A model that gives scalars, lists and tensors of all types as they are."""
        for n in (3, 0):
            arrays = {"flag": np.array(n == 3)}
            for name in self.task["types"]:
                arrays |= {name + str(rank): np.asarray(sample(name, shape)) for rank, shape in enumerate([(), (n,), (n, 2, 5)])}
            result = await self.infer(self.task["model"], inputs_of(self.module, arrays))
            for name, array in arrays.items():
                if name != "flag":
                    same(result.as_numpy(name + "_same"), array, f"{self.transport} {name}")
        if self.http:  # in JSON, what has a form there
            arrays = {n: a for n, a in arrays.items() if n != "flag"} | {"flag": np.array(True)}
            inputs, outputs = [], []
            for name, array in arrays.items():
                short = array.dtype in (np.float16, ml_dtypes.bfloat16)
                inputs += inputs_of(self.module, {name: array}, binary_data=short)
                if name != "flag":
                    outputs.append(self.module.InferRequestedOutput(name + "_same", binary_data=short))
            result = await self.infer(self.task["model"], inputs, outputs=outputs)
            for o in outputs:
                want = arrays[o.name().removesuffix("_same")]
                got = result.as_numpy(o.name())
                if want.dtype == np.object_:
                    got = np.array([str(s).encode() for s in got.flatten()], dtype=np.object_).reshape(got.shape)
                same(got, want, f"JSON {o.name()}")


def sample(name, shape):
    """An array whose elements differ, of a type by the name that ONNX has for it."""
    n = int(np.prod(shape))
    if name == "string":
        words = ["", "ein Vögelchen", "zwei\n", 'a "b" <c>']
        return np.array([words[i % 4].encode() for i in range(n)], dtype=np.object_).reshape(shape)
    if name == "bool":
        return np.arange(n).reshape(shape) % 2 == 1
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)
    if dtype == np.int64:
        return (np.iinfo(dtype).max - np.arange(n)).astype(dtype).reshape(shape)  # no float64 holds it
    if np.issubdtype(np.dtype(dtype), np.integer):
        return (np.iinfo(dtype).max - (29 * np.arange(n) % 100).astype(dtype)).reshape(shape)
    return (np.arange(n) / 4 - 3).astype(dtype).reshape(shape)


async def main():
    task = json.load(sys.stdin)
    print("tritonclient", importlib.metadata.version("tritonclient"))
    for transport in CLIENTS:
        asking = Asking(transport, task)
        for part in task["parts"]:
            await getattr(asking, part)()
            print(task["model"], transport, part, "right")
        await settled(asking.client.close())


asyncio.run(main())
