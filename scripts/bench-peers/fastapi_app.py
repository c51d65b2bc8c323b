"""FastAPI, a request a run: a plain function, which FastAPI calls in a thread of its pool.

    uvicorn fastapi_app:app --port $PORT
"""

from classifier import Classifier
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
classifier = Classifier()


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    label: str


@app.post("/predict")
def predict(question: Question) -> Answer:
    return Answer(label=classifier.labels([question.text])[0])
