"""BentoML with adaptive batching.

    bentoml serve bentoml_app:Service --port $PORT
"""

import bentoml
from classifier import MAX_BATCH, Classifier, setting


@bentoml.service(workers=setting("WORKERS", 1), traffic={"timeout": 60}, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Service:
    def __init__(self) -> None:
        self.classifier = Classifier()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60000)
    def predict(self, texts: list[str]) -> list[str]:
        return self.classifier.labels(texts)
