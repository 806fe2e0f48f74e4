"""Keeps vectors that were copied for the runs that follow, as if they had been paid for there: only proven ones, and only if asked to.

They stand for the texts beside them. Whoever asks for it says that each row's text is the one that its vector was made from, which no
sample can prove for all; the cache that they go to is shared by every job with the same encoder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from connector.commands.adoption.proving import Proof
from connector.commands.building import Parts
from connector.encoding.probing import Goldens
from connector.encoding.vectorcache import VectorCache, input_key
from connector.interfaces import identity
from connector.record import Row, Window


class Kept:
    """Takes pages of a copy; a context manager over the job's vector cache.

    Args:
        parts: The code.
        proofs: Whose vectors are verified.
        goldens: What the proof learnt of the encoders.
        on: Without it nothing is kept.

    Attributes:
        notes: What is to be said.
    """

    def __init__(self, parts: Parts, proofs: Sequence[Proof], goldens: Goldens, *, on: bool) -> None:
        verified = {one.field for one in proofs if one.verified}
        self._bindings = [one for one in parts.bindings if on and one.field.name in verified and one.field.dtype == "float32"]
        self._goldens = goldens
        self._cache = VectorCache(parts.job.cache_path, parts.job.vector_cache if self._bindings else 0)
        self._open = contextlib.ExitStack()
        self.notes: list[str] = []
        if on and not self._bindings:
            self.notes.append("no vectors are kept for the next run: none are verified, or none are float32")

    def __enter__(self) -> Self:
        self._open.enter_context(self._cache)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def _unnamed(self, field: str) -> None:
        note = f"{field}: no vectors are kept for the next run: nothing but its name tells which encoder this is"
        self.notes = [*self.notes, note] if note not in self.notes else self.notes

    def __call__(self, page: Sequence[Row], window: Window) -> None:
        """Keeps the vectors of one page, which is written."""
        for one in self._bindings:
            space = self._cache.space(identity(one.encoder, one.head), one.field.name, self._goldens)
            if space is None:
                self._unnamed(one.field.name)
                continue
            keys = [input_key(row.get(one.source), one.modality)[0] for row in page]
            vectors = window.vectors[one.field.name]
            self._cache.add(space, {key: vector for key, vector in zip(keys, vectors, strict=True) if key is not None})
        self._cache.window_made()
        self._cache.window_committed()
