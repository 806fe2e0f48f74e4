"""Sends texts to an OpenAI-compatible embeddings endpoint and tells what may pass another time from what never will.

Only the status, and for a refused input the server's own words, reach messages; the key never does, nor do redirects get it. The standard
library is enough: a batch takes far longer than a connection.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from connector.errors import AuthError, ConfigError, EncodeError, Throttled, Transient
from connector.hosts import is_local
from connector.retry import RetryPolicy, retry

log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float32]
_REFUSED = frozenset({400, 413, 422})
_PASSING = frozenset({408, 409, 424, 425})
"""Beside those from 500: a timeout, a conflict, too early; 424 is how text-embeddings-inference says that its backend failed."""

_TOO_MANY, _MOVED, _SERVER = 429, 300, 500
_ROOM, _ROOM_AN_INPUT, _BLOCK = 1 << 20, 1 << 20, 1 << 16
_WORDS = 300
_WARNED: set[str] = set()


class InputRefused(EncodeError):  # noqa: N818 - named for what happened, as the tree of errors is
    """The server takes this request never: one of its inputs is at fault, or their number, or what stands beside them."""


@dataclass
class Endpoint:
    """Where texts are sent to. Used by several threads at once.

    Attributes:
        base_url: Such as `https://api.openai.com/v1`; `/embeddings` follows it.
        body: What every request says beside its inputs.
        key: Sent as bearer token; "" sends none.
        key_env: The environment variable that it came from, for messages.
        timeout: Seconds without a sign of the server.
        policy: How long a request that may pass is tried again.
    """

    base_url: str
    body: dict[str, Any]
    key: str = field(default="", repr=False)
    key_env: str = ""
    timeout: float = 60.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        self.host = parts.hostname or ""
        local = is_local(self.host)
        if self.key and parts.scheme == "http" and not local and self.base_url not in _WARNED:
            _WARNED.add(self.base_url)
            log.warning("%s: credentials travel unencrypted to another machine; use https://", self.base_url)
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)
        self._rest_until = 0.0

    def embed(self, texts: list[str]) -> list[Vector]:
        """One vector (dim,) float32 a text, in order; all of one length, but not all numbers need be finite.

        Raises:
            InputRefused: The server refused the request for good.
            AuthError: The key is missing or wrong.
            ConfigError: There is no such endpoint.
            EncodeError: The answer is not what was asked for.
            Transient: The server stayed away, or too busy, until the deadline.
        """
        return vectors(retry(lambda: self._once(texts), self.policy, f"embeddings of {self.host}"), len(texts), self.host)

    def _once(self, texts: list[str]) -> Any:
        time.sleep(min(max(0.0, self._rest_until - time.monotonic()), self.policy.deadline))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "connector",
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        }
        body = json.dumps({**self.body, "input": texts}).encode()
        request = urllib.request.Request(f"{self.base_url}/embeddings", body, headers)  # noqa: S310 - http and https only, checked
        end = time.monotonic() + max(self.policy.deadline, self.timeout)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                data = _read(response, _ROOM + _ROOM_AN_INPUT * len(texts), end)
            return json.loads(data)
        except urllib.error.HTTPError as error:
            with error:
                raise self._explained(error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                problem = f"{self.host}: its certificate cannot be verified"
                raise ConfigError(problem, hint="correct base_url, or set SSL_CERT_FILE to the authority's certificate") from None
            kind = "an answer that is no JSON" if isinstance(error, ValueError) else type(reason).__name__
            raise Transient(f"{self.host}: {kind}", hint="start the server, or correct base_url") from None

    def _explained(self, error: urllib.error.HTTPError) -> Exception:
        """What an error status means."""
        status, where = error.code, f"{self.host}: status {error.code}"
        after = _seconds(error.headers.get("Retry-After"))
        code, words = self._words(error)
        if status in {401, 403} or code == "insufficient_quota":
            hint = "raise its quota" if code == "insufficient_quota" else f"set the environment variable {self.key_env} to a valid key"
            return AuthError(
                f"{where}: the key is {'used up' if code == 'insufficient_quota' else 'missing, wrong or lacks a right'}", hint=hint
            )
        if status == _TOO_MANY:
            self._rest_until = max(self._rest_until, time.monotonic() + after)
            return Throttled(f"{where}: too many requests", hint="set a smaller concurrency", after=after)
        if status in _PASSING or status >= _SERVER:
            return Transient(where, hint="look at the server's log", after=after)
        if status in _REFUSED:
            return InputRefused(f"the server refused it (status {status}){words and ': '}{words}")
        hint = "base_url is what stands before /embeddings, often ending in /v1" if status < _TOO_MANY else "look at the server's log"
        return ConfigError(f"{where} for {self.base_url}/embeddings{words and ': '}{words}", hint=hint)

    def _words(self, error: urllib.error.HTTPError) -> tuple[str, str]:
        """The code and the message of an error, as OpenAI, vLLM or text-embeddings-inference write them; the key is taken out."""
        found: Any = {}
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            found = json.loads(error.read(_BLOCK))
        found = found if isinstance(found, dict) else {}
        inner = found.get("error")
        inner = inner if isinstance(inner, dict) else {**found, "message": inner or found.get("message") or found.get("detail")}
        words = " ".join(str(inner.get("message") or "").split())[:_WORDS]
        return str(inner.get("code") or inner.get("error_type") or ""), words.replace(self.key, "***") if self.key else words


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST loses its body and would carry the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """None: the status is an error."""


def _read(response: Any, most: int, end: float) -> bytes:
    """The whole answer, if it is no larger than `most` and comes before `end`."""
    blocks: list[bytes] = []
    size = 0
    while block := response.read1(_BLOCK):
        blocks.append(block)
        size += len(block)
        if size > most:
            raise EncodeError(f"an answer of over {most:,} bytes", hint="check that base_url is an embeddings endpoint")
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(blocks)


def _seconds(stated: str | None) -> float:
    """What a Retry-After header asks for: a number of seconds, or a date."""
    if not stated:
        return 0.0
    with contextlib.suppress(ValueError):
        return max(0.0, min(float(stated), 86_400.0))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(stated).timestamp() - time.time())
    return 0.0


def vectors(answer: Any, count: int, host: str) -> list[Vector]:
    """The vectors of an answer in the order of the inputs, numbers or base64.

    Raises:
        EncodeError: Their number, an index or a length is wrong, or something is no vector.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise EncodeError(f"{host}: an answer without `data`", hint="check that base_url is an embeddings endpoint")
    found = {one.get("index", place): _vector(one.get("embedding"), host) for place, one in enumerate(data)}
    if len(data) != count or set(found) != set(range(count)):
        problem = f"{host}: {len(data)} vectors with {len(found)} different places for {count} inputs"
        raise EncodeError(problem, hint="this is a fault of the server: look at its log")
    if len({len(one) for one in found.values()}) != 1:
        raise EncodeError(f"{host}: vectors of several lengths in one answer", hint="this is a fault of the server: look at its log")
    return [found[place] for place in range(count)]


def _vector(value: Any, host: str) -> Vector:
    try:
        vector = (
            np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4") if isinstance(value, str) else np.asarray(value, np.float32)
        )
    except (ValueError, TypeError):
        vector = np.zeros(0, np.float32)
    if vector.ndim != 1 or not len(vector):
        raise EncodeError(f"{host}: an `embedding` that is no list of numbers, nor base64 of float32", hint="set encoding_format: float")
    return vector.astype(np.float32)
