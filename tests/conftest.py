"""What every test shares: no network, no caches of the person who runs them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test finds its own working folder and cache, and no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("MILVUS_URI", "MILVUS_TOKEN", "CONNECTOR_FAILPOINT"):
        monkeypatch.delenv(name, raising=False)
