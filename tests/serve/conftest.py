"""A workplace for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.serve.service import Service
from tests.serve.workplace import Workplace, wait


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """What a service takes out of Python's memory, since a file changed, is there again for other tests."""
    before = dict(sys.modules)
    yield
    sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    """A fresh one, whose modules are gone afterwards."""
    yield Workplace(tmp_path)
    for name in ("steps", "words"):
        sys.modules.pop(name, None)


@pytest.fixture
def serving(workplace: Workplace) -> Iterator[Callable[..., Service]]:
    """Starts services that are stopped when the test is over, with all that runs in them."""
    started: list[Service] = []

    def start(**settings: Any) -> Service:
        service = workplace.service(**settings)
        started.append(service)
        service.start()
        return service

    yield start
    (workplace.root / "go").touch()
    for service in started:
        service.stop()
        wait(service, lambda one=service: not one.alive())  # type: ignore[misc]  # bound now
