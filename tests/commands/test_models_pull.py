"""`connector models pull`: fetches what a job's models need, and says which commit to pin. The hub is a folder made like its cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.encoders.conftest import build_model
from tests.workfolder import SCHEMA, Folder

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random text model."""
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def hub(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache, offline, that holds org/tiny."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(original, repository / "snapshots" / SHA)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SHA)
    return repository / "snapshots" / SHA


def pull(folder: Folder, encoder: str) -> tuple[int, Any, str]:
    """(exit code, the JSON document, stderr) of `models pull` for a schema with this encoder."""
    folder.put("schema.py", SCHEMA.replace("dim=8", "dim=32").replace("fake:fake", encoder))
    code, out, err = folder.call("models", "pull", "job.yaml", "--json")
    return code, json.loads(out), err


def test_a_hub_model_is_pinned_by_its_commit(tmp_path: Path, hub: Path) -> None:
    """A name without a revision gets the commit that it means today; the pinned name then says that it is."""
    folder = Folder(tmp_path)
    code, document, _ = pull(folder, "transformers:org/tiny")
    [model] = document["models"]
    assert (code, model["fields"], model["commit"], model["pinned"]) == (0, ["vector"], SHA, False)
    assert model["pin"] == f"transformers:org/tiny@{SHA}"
    assert f'write encoder="transformers:org/tiny@{SHA}"' in folder.call("models", "pull", "job.yaml")[1]
    code, document, _ = pull(folder, model["pin"])
    assert (code, document["models"][0]["pinned"]) == (0, True)
    assert "here; pinned" in folder.call("models", "pull", "job.yaml")[1]


def test_a_folder_needs_no_pin(tmp_path: Path, original: Path) -> None:
    """A folder or a package is what it is: nothing is fetched."""
    folder = Folder(tmp_path)
    code, document, _ = pull(folder, f"transformers:{original}")
    assert (code, document["models"][0]["commit"], document["models"][0]["pin"]) == (0, "", "")
    assert "nothing to fetch and nothing to pin" in folder.call("models", "pull", "job.yaml")[1]


def test_offline_and_not_in_the_cache(tmp_path: Path, hub: Path) -> None:
    """What cannot be fetched is named with what to do, exit 2."""
    code, document, err = pull(Folder(tmp_path), "transformers:org/other")
    assert (code, document["error"]) == (2, "ConfigError")
    assert "org/other" in err
    assert "HF_HUB_OFFLINE" in err


def test_half_a_model_in_the_cache(tmp_path: Path, hub: Path) -> None:
    """A description without weights is not enough: a run would fail on it."""
    (hub / "model.safetensors").unlink()
    code, _, err = pull(Folder(tmp_path), "transformers:org/tiny")
    assert (code, "org/tiny" in err) == (2, True)


def test_a_schema_without_encoders(tmp_path: Path) -> None:
    """Ready-made vectors need no model."""
    folder = Folder(tmp_path)
    folder.put("schema.py", SCHEMA.replace(', encoder="fake:fake"', ', source="v"'))
    assert folder.call("models", "pull", "job.yaml")[:2] == (0, "the schema names no encoder\n")
