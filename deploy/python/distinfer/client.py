"""A client of a front, with nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict
from urllib.parse import urlsplit

_PIECE = 256  # texts of one request of Client.stream


class Label(TypedDict):
    """A label of a text, with its probability."""

    label: str
    score: float


class Entity(TypedDict):
    """A part of a text that the model names. start and end count code points."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class Error(Exception):
    """What a front refused, or could not do.

    status is HTTP's, or 0 if the front was not reached. retry_after is in seconds.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Client:
    """Asks one front. Threads may share it: each has a connection of its own.

    timeout is in seconds, of one request. A request that the front cannot answer now (429, 503), or
    that does not reach it, is repeated as often as retries says; computing twice changes nothing.
    """

    def __init__(
        self,
        url: str = "http://localhost:8008",
        *,
        token: str | None = None,
        timeout: float = 60,
        retries: int = 4,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the front's URL is {url!r}; it must begin with http:// or https://")
        self._url = url.rstrip("/")
        self._parts = parts
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._tls = tls
        self._local = threading.local()

    def predict(
        self,
        texts: Sequence[str | tuple[str, str]],
        *,
        top_k: int | None = None,
        function_to_apply: str | None = None,
    ) -> list[list[Label]]:
        """The labels of each text, or of each pair of texts, the most probable first."""
        parameters = {"top_k": top_k, "function_to_apply": function_to_apply}
        return self._answers("/predict", texts, parameters=_given(parameters))

    def label(self, text: str) -> str:
        """The most probable label of a text."""
        return self.predict([text], top_k=1)[0][0]["label"]

    def entities(
        self, texts: Sequence[str], *, aggregation_strategy: str = "simple", ignore_labels: Sequence[str] | None = None
    ) -> list[list[Entity]]:
        """What the model names in each text."""
        parameters = {"aggregation_strategy": aggregation_strategy, "ignore_labels": ignore_labels}
        return self._answers("/predict", texts, parameters=_given(parameters))

    def embed(
        self,
        texts: Sequence[str],
        *,
        normalize: bool = True,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate: bool | None = None,
    ) -> list[list[float]]:
        """A vector for each text."""
        fields = {"normalize": normalize, "prompt_name": prompt_name, "prompt": prompt, "truncate": truncate}
        return self._answers("/embed", texts, **_given(fields))

    def stream(self, texts: Iterable[str], *, path: str = "/predict") -> Iterator[Any]:
        """The answer to each of any number of texts, in their order, without holding all of them."""
        piece: list[str] = []
        for text in texts:
            piece.append(text)
            if len(piece) == _PIECE:
                yield from self._answers(path, piece)
                piece = []
        yield from self._answers(path, piece)

    def status(self) -> dict[str, Any]:
        """What the front and its stages do at the moment."""
        return self._json("GET", "/status")

    def ready(self) -> bool:
        """Whether every stage can be used."""
        try:
            self._send("GET", "/readyz", None)
        except Error as e:
            if e.status == 503 or e.status == 0:
                return False
            raise
        return True

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self, path: str, texts: Sequence[Any], **fields: Any) -> list[Any]:
        if isinstance(texts, str):
            raise TypeError("texts is one string; give a list of texts")
        inputs = [{"text": t[0], "text_pair": t[1]} if isinstance(t, tuple) else t for t in texts]
        if not inputs:
            return []
        answers = self._json("POST", path, {"inputs": inputs, **{k: v for k, v in fields.items() if v != {}}})
        if not isinstance(answers, list) or len(answers) != len(inputs):
            raise Error(f"{self._url}{path} did not answer {len(inputs)} texts as a front does; is it the URL of one?")
        return answers

    def _json(self, method: str, path: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            try:
                answer = self._send(method, path, content)
                break
            except Error as e:
                if attempt == self._retries or e.status not in (0, 429, 503):
                    raise
                wait = min(0.1 * 2**attempt, 5) if e.retry_after is None else e.retry_after
                time.sleep(min(wait, self._timeout))
        try:
            return json.loads(answer)
        except ValueError as e:
            raise Error(f"{self._url}{path} did not answer JSON; is it the URL of a front?") from e

    def _send(self, method: str, path: str, content: bytes | None) -> bytes:
        headers = {"Accept": "application/json", "User-Agent": "distinfer-python"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        for kept in (True, False):
            connection = self._connection() if kept else self._connect()
            try:
                connection.request(method, self._parts.path.rstrip("/") + path, content, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException) as e:
                self.close()
                # The front closes connections that were idle: that is no failure of it.
                if kept and isinstance(e, (ConnectionError, http.client.BadStatusLine)):
                    continue
                raise Error(f"{self._url} did not answer: {e or type(e).__name__}") from e
        if response.status != 200:
            raise Error(_message(answer, response), response.status, _seconds(response.getheader("Retry-After")))
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        return kept or self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        connection: http.client.HTTPConnection
        if self._parts.scheme == "https":
            tls = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, self._parts.port, timeout=self._timeout, context=tls)
        else:
            connection = http.client.HTTPConnection(host, self._parts.port, timeout=self._timeout)
        self._local.connection = connection
        return connection


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _message(answer: bytes, response: http.client.HTTPResponse) -> str:
    text = answer.decode("utf-8", "replace").strip()
    try:
        text = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        pass
    return f"{response.status} {text or response.reason}"


def _seconds(header: str | None) -> float | None:
    try:
        return float(header) if header is not None else None
    except ValueError:
        return None
