"""The fake encoder is honest, and the contract check finds encoders that are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tokenizers

from connector import registry
from connector.errors import ConfigError, OutOfMemory
from connector.interfaces import DeviceSpec, Head, Output, Prepared
from connector.testing import encoders
from connector.testing.encoders import COUNTS, FakeEncoder, FakeModel, check_encoder, fake_vector, word_tokenizer


def test_fake_encoder_keeps_the_contract() -> None:
    """The fake passes the check that real encoders must pass."""
    check_encoder(FakeEncoder)


def test_fake_is_registered() -> None:
    """A job can name it as `fake:name`, with options checked like any other encoder's."""
    made = registry.create("encoders", "fake", {"model": "x", "dim": 4, "nan_on": ["a"]}, where="test")
    assert made.spec(Head()).dim == 4
    with pytest.raises(ConfigError, match="unknown key"):
        registry.create("encoders", "fake", {"dims": 4}, where="test")


@pytest.mark.parametrize("dim", [1, 8, 32, 33, 768])
def test_fake_vectors_are_an_oracle(dim: int) -> None:
    """A vector is a function of the text alone, of unit length, and differs from text to text."""
    assert fake_vector("a", dim).shape == (dim,)
    assert np.linalg.norm(fake_vector("a", dim)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(fake_vector("a", dim), fake_vector("a", dim))
    assert dim == 1 or not np.array_equal(fake_vector("a", dim), fake_vector("b", dim))


def test_word_tokenizer_counts_words() -> None:
    """Splitters see a real tokenizer.json whose tokens are words, as the fake's cost is."""
    text = "one two, three"
    encoding = tokenizers.Tokenizer.from_file(str(word_tokenizer())).encode(text)
    assert len(encoding) == FakeEncoder().preparer("document")(text).cost == 3
    assert encoding.offsets == [(0, 3), (4, 8), (9, 14)]


def test_counts_are_kept_per_encoder_and_in_total() -> None:
    """What was paid for can be counted without reaching the instance."""
    COUNTS.clear()
    encoder = FakeEncoder()
    item = encoder.preparer("document")("a b")
    with encoder.open(DeviceSpec()) as model:
        model.forward([item, item], [encoder.resolve(Head())])
    assert COUNTS == encoder.counts == {"opened": 1, "forwards": 1, "items": 2}


def test_memory_can_run_out_on_purpose() -> None:
    """`fits` bounds what a batch may cost."""
    encoder = FakeEncoder(fits=3)
    item = encoder.preparer("document")("a b")
    with encoder.open(DeviceSpec()) as model, pytest.raises(OutOfMemory):
        model.forward([item, item], [encoder.resolve(Head())])


class Leaky(FakeModel):
    """A model whose vectors depend on the other inputs of the batch, as with a padding bug."""

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """The fake's vectors, shifted by the size of the batch."""
        return [np.asarray(output, dtype=np.float32) + np.float32(0.01 * len(items)) for output in super().forward(items, heads)]


class Doubled(FakeModel):
    """A model that gives float64."""

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """The fake's vectors in another type."""
        return [np.asarray(output, dtype=np.float64) for output in super().forward(items, heads)]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (Leaky, {}, "padding leaks"),
        (Doubled, {}, "promised float32"),
        (FakeModel, {"gives": 9}, "promised"),
        (FakeModel, {"nan_on": ("one",)}, "not finite"),
    ],
)
def test_check_finds_broken_promises(monkeypatch: pytest.MonkeyPatch, model: type[FakeModel], options: dict[str, Any], words: str) -> None:
    """Padding that leaks, a wrong type, a wrong dimension and NaN are each found and named."""
    monkeypatch.setattr(encoders, "FakeModel", model)
    with pytest.raises(AssertionError, match=words):
        check_encoder(lambda: FakeEncoder(**options))
