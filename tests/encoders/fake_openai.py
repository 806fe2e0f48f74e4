"""A small embeddings server on the loopback interface, with the faults that real ones have. It stops with the test."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from connector.testing.encoders import fake_vector

DIM = 8


class Fake(ThreadingHTTPServer):
    """Answers `/v1/embeddings` with `fake_vector` of each text.

    Attributes:
        faults: Faults of the next requests, first come first served; each is a function of the handler that answers in its way.
        requests: The inputs of every request.
        headers: Of every request.
        bodies: Of every request.
        stamps: When each came, in seconds.
        at_once: Most requests that were under way at a time.
        bad: A text that holds this is refused with its whole request.
        most: A request of more inputs is refused.
        key: The bearer token that is wanted.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Any] = []
        self.requests: list[list[str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.stamps: list[float] = []
        self.at_once = self.under_way = 0
        self.bad = self.key = ""
        self.most, self.delay, self.reverse = 100, 0.0, False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """For `base_url`."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def times(self) -> Counter[str]:
        """How often each text was sent."""
        return Counter(text for texts in self.requests for text in texts)

    def handle_error(self, *_: Any) -> None:
        """Says nothing: clients that go away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Fake

    def do_POST(self) -> None:
        """Answers by the next fault, or properly."""
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(body["input"])
            server.stamps.append(time.monotonic())
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.under_way += 1
            server.at_once = max(server.at_once, server.under_way)
            fault = server.faults.pop(0) if server.faults else None
        time.sleep(server.delay)
        with server.lock:
            server.under_way -= 1
        (fault or Handler.proper)(self, body)

    def proper(self, body: dict[str, Any]) -> None:
        """The vectors, or a refusal."""
        server, texts = self.server, body["input"]
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            self.say(401, {"error": {"message": f"Incorrect API key provided: {server.key}", "code": "invalid_api_key"}})
        elif self.path != "/v1/embeddings":
            self.say(404, {"detail": "Not Found"})
        elif len(texts) > server.most:
            self.say(413, {"error": f"batch size {len(texts)} > maximum allowed batch size {server.most}", "error_type": "Validation"})
        elif server.bad and any(server.bad in text for text in texts):
            self.say(400, {"error": {"message": f"This model's maximum context length is 9 tokens. {server.key}", "code": None}})
        else:
            self.vectors(body, [fake_vector(text, body.get("dimensions", DIM)) for text in texts])

    def vectors(self, body: dict[str, Any], vectors: list[Any], places: list[int] | None = None) -> None:
        """An answer with these vectors."""
        base64_wanted = body.get("encoding_format") == "base64"
        shown = [
            base64.b64encode(np.asarray(one, "<f4").tobytes()).decode() if base64_wanted else np.asarray(one).tolist() for one in vectors
        ]
        data = [
            {"object": "embedding", "index": place, "embedding": one} for place, one in zip(places or range(len(shown)), shown, strict=True)
        ]
        self.say(200, {"object": "list", "data": data[::-1] if self.server.reverse else data, "model": body["model"]})

    def say(self, status: int, document: Any, **headers: str) -> None:
        """An answer."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def status(code: int, **headers: str) -> Any:
    """A fault: this status."""
    return lambda handler, _: handler.say(code, {"error": {"message": "told to fail"}}, **headers)


def quota(handler: Handler, _: Any) -> None:
    """A fault: the account is empty."""
    handler.say(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}})


def dropped(handler: Handler, _: Any) -> None:
    """A fault: the connection ends without an answer."""
    handler.close_connection = True
    handler.connection.close()


def short(handler: Handler, _: Any) -> None:
    """A fault: the connection ends in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True


def dripping(handler: Handler, _: Any) -> None:
    """A fault: a byte now and then, for three seconds at most."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _count in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def slow(handler: Handler, body: Any) -> None:
    """A fault: the answer comes after a second."""
    time.sleep(1.0)
    handler.proper(body)


def answer(document: Any) -> Any:
    """A fault: this answer, whatever was asked."""
    return lambda handler, _: handler.say(200, document)


def changed(change: Any) -> Any:
    """A fault: the proper vectors, changed."""
    return lambda handler, body: handler.vectors(body, change([fake_vector(text, DIM) for text in body["input"]]))


def places(order: list[int]) -> Any:
    """A fault: the proper vectors under other indices."""
    return lambda handler, body: handler.vectors(body, [fake_vector(text, DIM) for text in body["input"]], order)


@contextmanager
def serving() -> Iterator[Fake]:
    """A running server."""
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
