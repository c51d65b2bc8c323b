"""FastAPI with batching made by hand: what waits is taken together, sorted by length and run in pieces.

    uvicorn fastapi_sorted_app:app --workers $WORKERS --port $PORT
"""

import asyncio
from contextlib import asynccontextmanager

from classifier import MAX_BATCH, Classifier
from fastapi import FastAPI
from pydantic import BaseModel

PIECE = 8

classifier = Classifier(spin=False)
waiting: asyncio.Queue = asyncio.Queue()


async def batches() -> None:
    """Answer for ever, while requests arrive for the next batch."""
    while True:
        batch = [await waiting.get()]
        while len(batch) < MAX_BATCH and not waiting.empty():
            batch.append(waiting.get_nowait())
        try:
            labels = await asyncio.to_thread(classifier.labels_sorted, [text for text, _ in batch], PIECE)
        except Exception as error:  # whose request it was must hear of it, and the next be answered
            for _, answer in batch:
                answer.cancelled() or answer.set_exception(error)
            continue
        for (_, answer), label in zip(batch, labels):
            answer.cancelled() or answer.set_result(label)


@asynccontextmanager
async def lifespan(_: FastAPI):
    task = asyncio.create_task(batches())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    label: str


@app.post("/predict")
async def predict(question: Question) -> Answer:
    answer = asyncio.get_running_loop().create_future()
    waiting.put_nowait((question.text, answer))
    return Answer(label=await answer)
