"""What the tests of this folder share: a web server that listens, rows to write, and a Milvus that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from connector.commands import building
from connector.stations.windows import WindowLimits
from connector.testing.faulty_milvus import FaultyMilvus
from tests.observe.listener import Listener, listening

WINDOW = 10


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "WindowLimits", partial(WindowLimits, rows=WINDOW))


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Takes whatever comes."""
    with listening() as server:
        yield server


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[FaultyMilvus]:
    """Behaving until told otherwise."""
    with FaultyMilvus(tmp_path / "lite.db") as running:
        yield running
