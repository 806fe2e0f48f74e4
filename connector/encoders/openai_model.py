"""Encodes by asking a server: texts in requests of bounded size, a bounded number at a time, one float32 vector a head and text out.

A request that the server refuses for good is halved until the input at fault stands alone; the others keep their vectors, so nothing is
paid for twice. Before that, a word that no server refuses tells a wrong input from a wrong setting, which would refuse every row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import numpy as np
import numpy.typing as npt

from connector.encoders.openai_http import Endpoint, InputRefused, Vector
from connector.errors import ConfigError, EncodeError
from connector.interfaces import Head, Output, Prepared

PROBE = "hello"
"""A text that every model reads."""


class OpenaiModel:
    """A server's model; used by one thread at a time.

    Args:
        endpoint: The server.
        name: For messages.
        dim: Numbers that its vectors have; None: whatever it gives first.
        batch_size: Most inputs of a request.
        batch_tokens: Most tokens of a request.
        concurrency: Most requests at a time.
    """

    precision = "fp32"

    def __init__(self, endpoint: Endpoint, name: str, dim: int | None, *, batch_size: int, batch_tokens: int, concurrency: int) -> None:
        self.budget = batch_tokens * concurrency
        self.refused: dict[int, str] = {}
        self._endpoint, self._name, self._dim = endpoint, name, dim
        self._size, self._tokens = batch_size, batch_tokens
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(concurrency, "request")
        self._proof = threading.Lock()
        self._proven = False
        self._failure: Exception | None = None

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """Asks for all items; one output (n, dim) float32 a head. A refused item has NaN, and its reason in `refused`.

        Raises:
            AuthError: The key is missing or wrong.
            ConfigError: There is no such endpoint or model, or its vectors have another length.
            EncodeError: The server's answer is not what was asked for.
            Transient: The server stayed away, or too busy, until the deadline.
        """
        if self._pool is None:
            raise EncodeError(f"model {self._name} is closed", hint="open it again")
        texts = [item.data for item in items]
        self._failure = None
        requests = [self._pool.submit(copy_context().run, self._answers, [texts[index] for index in some]) for some in self._cut(items)]
        try:
            found = [one for request in requests for one in request.result()]
        finally:
            for request in requests:
                request.cancel()
        self.refused = {index: one for index, one in enumerate(found) if isinstance(one, str)}
        return [headed(self._whole(found), head) for head in heads]

    def close(self) -> None:
        """Sends nothing more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _cut(self, items: Sequence[Prepared]) -> list[list[int]]:
        requests: list[list[int]] = []
        tokens = 0
        for index, item in enumerate(items):
            if not requests or len(requests[-1]) == self._size or tokens + item.cost > self._tokens:
                requests.append([])
                tokens = 0
            requests[-1].append(index)
            tokens += item.cost
        return requests

    def _answers(self, texts: list[str]) -> list[Vector | str]:
        """As `_ask`; once a request has failed, those that wait are not sent."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._ask(texts)
        except Exception as error:
            self._failure = error
            raise

    def _ask(self, texts: list[str]) -> list[Vector | str]:
        """A vector a text, or why there is none."""
        try:
            found: list[Vector | str] = [*self._endpoint.embed(texts)]
        except InputRefused as error:
            self._prove(error)
            if len(texts) == 1:
                return [error.message]
            middle = (len(texts) + 1) // 2
            found = self._ask(texts[:middle]) + self._ask(texts[middle:])
            if not any(isinstance(one, str) for one in found):
                self._size = min(self._size, middle)  # no input was at fault: there were too many of them
        self._proven = True
        return found

    def _prove(self, refusal: InputRefused) -> None:
        """Raises if the server refuses any input; asked once, and never of a server that has taken one."""
        with self._proof:
            if self._proven:
                return
            try:
                self._endpoint.embed([PROBE])
            except InputRefused:
                hint = "correct the model's name, dimensions or extra"
                raise ConfigError(f"{self._name}: {refusal.message}; a text of one word too", hint=hint) from None
            self._proven = True

    def _whole(self, found: Sequence[Vector | str]) -> npt.NDArray[np.float32]:
        """(n, dim), NaN where an item was refused."""
        dim = self._dim or next((len(one) for one in found if not isinstance(one, str)), 1)
        whole = np.full((len(found), dim), np.nan, dtype=np.float32)
        for row, one in zip(whole, found, strict=True):
            if isinstance(one, str):
                continue
            if len(one) != dim:
                problem = f"{self._name} gives vectors of {len(one)} numbers, wanted {dim}"
                raise ConfigError(problem, hint=f"set dim={len(one)}, or the option dimensions")
            row[:] = one
        return whole


def headed(vectors: npt.NDArray[np.float32], head: Head) -> npt.NDArray[np.float32]:
    """Vectors cut and scaled as a resolved head says."""
    if head.truncate_dim:
        if head.truncate_dim > vectors.shape[1] and not np.isnan(vectors).all():
            raise ConfigError(
                f"truncate_dim is {head.truncate_dim}, the server gives {vectors.shape[1]} numbers", hint="correct truncate_dim"
            )
        vectors = vectors[:, : head.truncate_dim]
    if not head.normalize:
        return vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.where(norms == 0, 1, norms)).astype(np.float32)
    return unit
