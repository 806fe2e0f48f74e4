"""Answers a monitor over HTTP: is it alive, is it ready, what does it count, what do the jobs do. Nothing can be changed here."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from connector.errors import ConfigError
from connector.hosts import is_local
from connector.observe import metrics
from connector.serve.readiness import Readiness
from connector.serve.service import Service

log = logging.getLogger(__name__)

QUIET = 30.0
"""Seconds without a tick after which the process counts as dead."""

Answer = tuple[HTTPStatus, str, bytes]


def address(text: str, *, expose: bool) -> tuple[str, int]:
    """Host and port of `--listen`.

    Raises:
        ConfigError: It is none, or another machine could reach it and nobody said that this is meant.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - ports end there
        raise ConfigError(f"--listen {text}: no port", hint="write 127.0.0.1:9480")
    if not is_local(host) and not expose:
        problem = f"--listen {text}: other machines could read there what the jobs are called and why they fail"
        raise ConfigError(problem, hint="add --expose if the network is closed otherwise, as in a container")
    return host, int(port)


def listen(host: str, port: int, service: Service, readiness: Readiness) -> ThreadingHTTPServer:
    """Starts to answer, in threads of its own; `shutdown` and `server_close` end it.

    Raises:
        ConfigError: The port is taken, or the address is not of this machine.
    """

    class Bound(_Handler):
        answers: ClassVar[dict[str, Callable[[], Answer]]] = {
            "/healthz": lambda: _health(service),
            "/readyz": lambda: _ready(service, readiness),
            "/metrics": _metrics,
            "/jobs": lambda: _json(HTTPStatus.OK, service.document()),
        }

    try:
        server = _Server((host, port), Bound)
    except OSError as error:
        problem = f"--listen {host}:{port}: {error.strerror or error}"
        raise ConfigError(problem, hint="is another connector serve running? Give another port with --listen") from None
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, where: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, handler)

    def handle_error(self, *_: object) -> None:
        """A client that goes away in the middle is nobody's trouble."""


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, Callable[[], Answer]]] = {}
    timeout = 10
    server_version, sys_version = "connector", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, kind, body = self.answers[path]() if path in self.answers else _text(HTTPStatus.NOT_FOUND, " ".join(self.answers))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        log.debug(format, *args)


def _health(service: Service) -> Answer:
    quiet = time.monotonic() - service.ticked
    if quiet > QUIET:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"nothing was looked after for {quiet:.0f} s")
    return _text(HTTPStatus.OK, "ok")


def _ready(service: Service, readiness: Readiness) -> Answer:
    problems = readiness.problems
    if not service.loaded or problems is None:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "starting")
    if service.stopping or problems:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(problems) or "stopping")
    return _text(HTTPStatus.OK, "ready")


def _metrics() -> Answer:
    return HTTPStatus.OK, metrics.CONTENT_TYPE, metrics.exposition()


def _text(status: HTTPStatus, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def _json(status: HTTPStatus, document: dict[str, Any]) -> Answer:
    return status, "application/json", json.dumps(document, default=str).encode()
