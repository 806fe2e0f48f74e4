"""A fake encoder that needs no model; also gives `check_encoder`, the check that any encoder keeps its contract.

The fake's vectors are a function of the text alone, so a test can work out what every row of a collection must hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.encoding.probing import TEXTS
from connector.errors import ConfigError, OutOfMemory, RowError
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Output, Prepared, Role, TextLimits, VectorSpec
from connector.testing.encoder_check import check_encoder

__all__ = ["COUNTS", "FakeEncoder", "FakeModel", "FakePreparer", "check_encoder", "fake_vector", "word_tokenizer"]

COUNTS: Counter[str] = Counter()
"""What all fake encoders of this process did: `opened`, `forwards`, `items`. Clear it before a test."""


def fake_vector(text: str, dim: int = 8) -> npt.NDArray[np.float32]:
    """The unit vector (dim,) float32 that FakeEncoder gives for a text, made from its blake2b hash."""
    blocks = (hashlib.blake2b(f"{block}\0{text}".encode("utf-8", "surrogatepass")).digest() for block in range(dim * 2 // 64 + 1))
    numbers = np.frombuffer(b"".join(blocks), dtype="<i2")[:dim].astype(np.float64) + 0.5
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


@dataclass(frozen=True)
class FakePreparer:
    """Counts words; refuses what `FakeEncoder` is told to refuse."""

    fail_on: tuple[str, ...]
    max_tokens: int
    prompt: str = ""

    def __call__(self, text: object) -> Prepared:
        """The text itself; its cost is its number of words.

        Raises:
            RowError: It is no text, blank, or holds one of `fail_on`.
        """
        if not isinstance(text, str) or not text.strip():
            raise RowError(f"{type(text).__name__} {text!r:.20}, but the encoder reads text that is not blank")
        for word in self.fail_on:
            if word in text:
                raise RowError(f"told to fail on {word!r}")
        words = len(text.split())
        return Prepared(self.prompt + text, min(words, self.max_tokens), len(text), truncated=words > self.max_tokens)


class FakeEncoder:
    """An encoder of texts with no weights; options make it slow, wrong or short of memory.

    Args:
        model: Any name; part of the identity.
        dim: Numbers a vector.
        max_tokens: Words that it reads.
        revision: Part of the identity.
        fail_on: A text that holds one of these is refused by the preparer.
        nan_on: A text that holds one of these gets a vector of NaN.
        zero_on: A text that holds one of these gets a vector of zeros.
        gives: Numbers that vectors really have, to break the promise of `dim`.
        fits: Most cost of a batch (count times dearest) before memory runs out.
        budget: Cost of a micro-batch.
        delay: Seconds that each input takes.
        query_prompt: Put before what is searched for.
        seed: Changes every vector and not the identity, as weights do that were exchanged under the same name.
        low: Precision that it computes in unless fp32 is asked for.
        noise: How far, relative to their length, vectors of that precision are off.
        probed: Whether the golden probe encodes its inputs, which are counted like others.
    """

    inputs = frozenset({"text"})

    def __init__(  # noqa: PLR0913, PLR0917 - a job writes these as keys
        self,
        model: str = "fake",
        dim: int = 8,
        max_tokens: int = 64,
        revision: str = "",
        fail_on: tuple[str, ...] = (),
        nan_on: tuple[str, ...] = (),
        zero_on: tuple[str, ...] = (),
        gives: int | None = None,
        fits: int | None = None,
        budget: int = 64,
        delay: float = 0.0,
        query_prompt: str = "",
        seed: str = "",
        low: str = "fp32",
        noise: float = 0.0,
        probed: bool = False,  # noqa: FBT001, FBT002 - a key of a job
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.batches: list[list[int]] = []
        self.text: TextLimits | None = TextLimits(word_tokenizer(), max_tokens)
        self.model = ModelIdentity("fake", model, revision, "", {"max_tokens": max_tokens, "query_prompt": query_prompt})
        self.dim, self.gives, self.fits, self.budget, self.delay = dim, gives or dim, fits, budget, delay
        self.nan_on, self.zero_on = nan_on, zero_on
        self.seed, self.low, self.noise = seed, low, noise
        self.probe_inputs = {"text": TEXTS if probed else ()}
        self._prepare = {"document": FakePreparer(fail_on, max_tokens), "query": FakePreparer(fail_on, max_tokens, query_prompt)}

    def resolve(self, head: Head) -> Head:
        """The head with layer `hash`, pooling `mean` and normalisation filled in.

        Raises:
            ConfigError: Another layer or pooling, or vectors that are not float.
        """
        if (
            head.layer not in {None, "hash"}
            or head.pooling not in {None, "mean", "none"}
            or head.dtype not in {"float32", "float16", "bfloat16", "int8", "binary"}
        ):
            raise ConfigError(f"the fake encoder has no {head}", hint="valid: layer hash, pooling mean or none, any dense dtype")
        return replace(head, layer="hash", pooling=head.pooling or "mean", normalize=head.normalize is not False)

    def spec(self, head: Head) -> VectorSpec:
        """Dense, of `dim` numbers or of `truncate_dim`; with pooling none, one such vector a word."""
        head = self.resolve(head)
        return VectorSpec("ragged" if head.pooling == "none" else "dense", head.truncate_dim or self.dim, head.dtype)

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - it reads nothing but text
        """Counts words."""
        return self._prepare[role]

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """A model that hashes; opening is counted."""
        self.count("opened", 1)
        low = self.low if device.precision == "auto" else device.precision
        yield FakeModel(self, self.budget if device.batch == "auto" else device.batch, low)

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - all heads of this encoder see the same words
        """One a word."""
        return prepared.cost

    def count(self, what: str, number: int) -> None:
        """Adds to this encoder's `counts` and to `COUNTS`."""
        self.counts[what] += number
        COUNTS[what] += number


class FakeModel:
    """The fake encoder's model."""

    def __init__(self, encoder: FakeEncoder, budget: int, precision: str = "fp32") -> None:
        self.budget = budget
        self.precision = precision
        self._encoder = encoder

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """Hashes the texts.

        Raises:
            OutOfMemory: The batch costs more than `fits`.
        """
        encoder, costs = self._encoder, [item.cost for item in items]
        if encoder.fits is not None and len(costs) * max(costs) > encoder.fits:
            raise OutOfMemory("told to run out of memory", hint="none")
        time.sleep(encoder.delay * len(items))
        encoder.count("forwards", 1)
        encoder.count("items", len(items))
        encoder.batches.append(costs)
        whole = np.stack([self._vector(item.data) for item in items])
        return [self._words(items, head) if head.pooling == "none" else _cut(whole, head) for head in heads]

    def _words(self, items: Sequence[Prepared], head: Head) -> list[npt.NDArray[np.float32]]:
        return [_cut(np.stack([self._vector(word) for word in item.data.split()[: item.cost]]), head) for item in items]

    def _vector(self, text: str) -> npt.NDArray[np.float32]:
        vector = fake_vector(self._encoder.seed + text, self._encoder.gives)
        if self.precision != "fp32" and self._encoder.noise:
            vector += self._encoder.noise * fake_vector(f"noise {text}", self._encoder.gives)
        if any(word in text for word in self._encoder.nan_on):
            vector[-1] = np.nan
        if any(word in text for word in self._encoder.zero_on):
            vector[:] = 0
        return vector


def _cut(whole: npt.NDArray[np.float32], head: Head) -> npt.NDArray[np.float32]:
    if not head.truncate_dim:
        return whole
    short = whole[:, : head.truncate_dim]
    norms = np.linalg.norm(short, axis=1, keepdims=True) if head.normalize else np.float32(1)
    vectors: npt.NDArray[np.float32] = (short / norms).astype(np.float32)
    return vectors


def word_tokenizer() -> Path:
    """A real tokenizer.json whose tokens are words, written once to the temporary folder."""
    words = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    text = json.dumps({"version": "1.0", **empty, "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": words})
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"connector-fake-{os.getuid()}-{name}"
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = folder / f"draft-{os.getpid()}"
        draft.write_text(text)
        draft.replace(folder / "tokenizer.json")
    return folder / "tokenizer.json"
