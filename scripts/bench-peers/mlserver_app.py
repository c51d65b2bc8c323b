"""MLServer: a runtime of our own, whose requests MLServer gathers into batches.

    python mlserver_app.py FOLDER     # writes settings into FOLDER, then does `mlserver start FOLDER`
"""

import json
import os
import sys
from pathlib import Path

from classifier import MAX_BATCH, Classifier, setting
from mlserver import MLModel
from mlserver.codecs import StringRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    async def load(self) -> bool:
        self.classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = self.decode_request(payload, default_codec=StringRequestCodec)
        return StringRequestCodec.encode_response(self.name, self.classifier.labels(texts), self.version)


def configure(folder: Path) -> None:
    port, grpc, metrics = (int(p) for p in os.environ["PORTS"].split(","))
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": setting("WORKERS", 1),
        "debug": False,
    }
    model = {
        "name": "classifier",
        "implementation": "mlserver_app.Runtime",
        "max_batch_size": MAX_BATCH,
        "max_batch_time": 0.005,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    configure(Path(sys.argv[1]))
    os.execv(Path(sys.executable).with_name("mlserver"), ["mlserver", "start", sys.argv[1]])
