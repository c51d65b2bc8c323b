"""Ray Serve with batching: `one` deployment of the whole model, or the split model's stages `chained`.

    python ray_app.py one|chained TEMPORARY-FOLDER
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import ray
from classifier import MAX_BATCH, Classifier, Texts, run, session, setting
from ray import serve
from starlette.requests import Request

# As many requests must be allowed under way as are to wait for a batch.
ROOM = 256
# What arrives with the first text of a batch, in seconds, does not wait for the next.
WAIT = 0.005


@serve.deployment(max_ongoing_requests=ROOM)
class One:
    def __init__(self) -> None:
        self.classifier = Classifier()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT)
    async def labels(self, texts: list[str]) -> list[str]:
        return self.classifier.labels(texts)

    async def __call__(self, request: Request) -> dict[str, str]:
        return {"label": await self.labels((await request.json())["text"])}


class Stage:
    """One of the files that `distinfer split` wrote, with the names that its manifest gives."""

    def __init__(self, rank: int) -> None:
        folder = Path(os.environ["STAGES"])
        self.stage = json.loads((folder / "manifest.json").read_text())["stages"][rank]
        self.session = session(folder / self.stage["file"], setting("THREADS", 1))

    def run(self, bag: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run(self.session, bag) | {name: bag[name] for name in self.stage.get("forward") or []}


@serve.deployment(max_ongoing_requests=ROOM)
class Second:
    def __init__(self) -> None:
        self.stage = Stage(1)

    async def __call__(self, bag: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.stage.run(bag)


@serve.deployment(max_ongoing_requests=ROOM)
class First:
    def __init__(self, second) -> None:
        self.texts = Texts(Path(os.environ["MODEL"]).parent)
        self.stage = Stage(0)
        self.second = second

    # The next batch is computed here while the second stage has this one.
    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT, max_concurrent_batches=2)
    async def labels(self, texts: list[str]) -> list[str]:
        return self.texts.answers(await self.second.remote(self.stage.run(self.texts.inputs(texts))))

    async def __call__(self, request: Request) -> dict[str, str]:
        return {"label": await self.labels((await request.json())["text"])}


def main() -> None:
    form, folder = sys.argv[1:]
    ray.init(include_dashboard=False, _temp_dir=folder, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": setting("PORT", 8000)}, logging_config={"enable_access_log": False})
    serve.run({"one": lambda: One.bind(), "chained": lambda: First.bind(Second.bind())}[form]())
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
