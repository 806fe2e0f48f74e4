"""One run that encodes with two models, a quick and a slow one: both get on window by window, and neither stalls the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoding import Encoding, bind
from connector.encoding.slices import MAX_PREPARED
from connector.interfaces import Prepared, Role
from connector.record import Row
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.schema.spec import CollectionSpec, VectorFieldSpec
from connector.stations.windows import WindowLimits
from connector.testing.encoders import FakeEncoder, FakeModel, fake_vector
from tests.test_pipeline import Bench

WINDOWS, ROWS = 8, 64
DELAYS = {"fake:quick": 0.0005, "fake:slow": 0.004}
A_WINDOW = ROWS * sum(DELAYS.values())
ITEM_BYTES = 1 << 20
"""What a prepared input says it holds: all of them together would be a gigabyte."""


class QuickFirst(Collection):
    """Two vectors of one text."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    quick: Vector = VectorField(dim=8, encoder="fake:quick", source="text")
    slow: Vector = VectorField(dim=8, encoder="fake:slow", source="text")


class SlowFirst(Collection):
    """The same, declared the other way round, from two columns."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    slow: Vector = VectorField(dim=8, encoder="fake:slow", source="other")
    quick: Vector = VectorField(dim=8, encoder="fake:quick", source="text")


class Meter:
    """How many prepared bytes wait for a model, and how many ever did at once."""

    def __init__(self) -> None:
        self.held = self.most = 0
        self._mutex = threading.Lock()

    def add(self, nbytes: int) -> None:
        """More, or with a negative number less."""
        with self._mutex:
            self.held += nbytes
            self.most = max(self.most, self.held)


class Heavy(FakeEncoder):
    """A fake encoder whose prepared inputs are heavy, and are metered until the model has them."""

    meter: Meter

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:
        """Prepares and meters."""
        prepare, meter = super().preparer(role), self.meter

        def metered(value: Any) -> Prepared:
            prepared = prepare(value)
            prepared.nbytes = ITEM_BYTES
            meter.add(ITEM_BYTES)
            return prepared

        return metered


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    """Of all encoders of a test."""
    found, forward = Meter(), FakeModel.forward

    def metered(model: FakeModel, items: Sequence[Prepared], heads: Any) -> Any:
        outputs = forward(model, items, heads)
        found.add(-ITEM_BYTES * len(items))
        return outputs

    monkeypatch.setattr(FakeModel, "forward", metered)
    return found


def texts_of(row: Row) -> list[Row]:
    """One row a text."""
    return [{"text": text, "other": text} for text in row["texts"]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spec", [spec_of(QuickFirst), spec_of(SlowFirst)], ids=lambda spec: spec.name)
def test_neither_model_starves_the_other(tmp_path: Path, spec: CollectionSpec, workers: int, meter: Meter) -> None:
    """After each window both have done their part of it and hardly more; the time is the sum of theirs; little waits in memory."""
    encoders: dict[str, Heavy] = {}

    def make(field: VectorFieldSpec) -> Heavy:
        name = str(field.encoder)
        encoders[name] = Heavy(name, delay=DELAYS[name], budget=16)
        encoders[name].meter = meter
        return encoders[name]

    done: list[tuple[float, int, int]] = []

    def note(_: Row) -> None:
        done.append((time.monotonic(), encoders["fake:quick"].counts["items"], encoders["fake:slow"].counts["items"]))

    bench = Bench(tmp_path, spec, texts_of)
    bench.sink.refuse = note
    documents = [(f"d{number:03}", "1", [f"d{number} {line}" for line in range(4)]) for number in range(WINDOWS * ROWS // 4)]
    with Encoding(bind(spec, make), {}, workers=workers) as encoding:
        begun = time.monotonic()
        bench.run(documents, encode=encoding, workers=workers, limits=WindowLimits(rows=ROWS))
        whole = time.monotonic() - begun

    ends = done[ROWS - 1 :: ROWS]
    assert len(ends) == WINDOWS
    for number, (_, quick, slow) in enumerate(ends, start=1):
        assert number * ROWS <= quick <= (number + 2 * min(workers, 1)) * ROWS
        assert number * ROWS <= slow <= (number + 2 * min(workers, 1)) * ROWS
    gaps = np.diff([begun, *(moment for moment, _, _ in ends)])
    assert WINDOWS * A_WINDOW <= whole < 2 * WINDOWS * A_WINDOW  # 1.1 on a quiet machine
    assert gaps.max() < 4 * A_WINDOW
    assert meter.held == 0
    assert meter.most < 4 * MAX_PREPARED  # of all together it is a quarter
    for row in bench.sink.rows.values():
        np.testing.assert_array_equal(row["quick"], fake_vector(row["text"]))
        np.testing.assert_array_equal(row["slow"], fake_vector(row["text"]))
