"""`connector schema json`: editors accept what a run accepts, and mark what a run refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from connector import registry
from connector.errors import MissingExtra
from connector.job import Job
from connector.job.json_schema import job_schema
from tests.workfolder import JOB, Folder

ROOT = Path(__file__).parent.parent.parent
SHIPPED = [*(ROOT / "docker" / "jobs").glob("*.yaml"), *(ROOT / "connector" / "templates").glob("*/jobs/*.yaml")]


def problems(job: Any) -> list[str]:
    """What an editor would mark."""
    validator = jsonschema.Draft202012Validator(job_schema())
    return [error.message for error in validator.iter_errors(job)]


def job(**changes: Any) -> dict[str, Any]:
    """A job as its file says, references not replaced."""
    return {**yaml.safe_load(JOB), **changes}


def test_it_is_a_schema() -> None:
    """It keeps the rules of JSON Schema itself."""
    jsonschema.Draft202012Validator.check_schema(job_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_jobs_are_accepted(path: Path) -> None:
    """Every job that we ship, as it stands in its file."""
    assert problems(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": "${env:WORKERS:-2}"},
        {"milvus": None, "sync": "mirror"},
        {"milvus": {"uri": "${env:MILVUS_URI}", "secure": "${env:TLS}", "wait_for_index": True}},
        {"rejects": {"fail_over": "1%"}},
        {"encode": {"vector": {"device": "cuda:1", "batch": 64}}},
        {"split": {"by": "none"}},
        {"parse": "text"},
    ],
)
def test_what_a_run_accepts(changes: dict[str, Any]) -> None:
    """Choices, numbers, and references in their places."""
    values = {name: value for name, value in job(**changes).items() if value is not None}
    assert problems(values) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"snyc": "mirror"},
        {"sync": "mirrored"},
        {"workers": 65},
        {"workers": "two"},
        {"source": {"kind": "flies", "root": "x"}},
        {"source": {"kind": "files", "rot": "x"}},
        {"source": {"root": "x"}},
        {"milvus": {"url": "x.db"}},
        {"encode": {"vector": {"devise": "cpu"}}},
        {"split": {"by": "words"}},
        {"parse": "wrod"},
        {"into": "Notes"},
        {"where": "here"},
    ],
)
def test_what_a_run_refuses(changes: dict[str, Any]) -> None:
    """Unknown keys anywhere, unknown names, values out of range."""
    assert problems(job(**changes))


def test_every_key_says_what_it_means() -> None:
    """An editor shows the meaning of each key of a job, from the same docstring that a reader of the code sees."""
    properties = job_schema()["properties"]
    assert set(properties) == set(Job.model_fields) - {"where"}
    assert [name for name, one in properties.items() if name != "source" and not one.get("description") and "$ref" not in one] == []


def test_a_source_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are unknown, so any is accepted; the others are described."""
    load = registry.load

    def broken(group: str, name: str) -> Any:
        if name == "files":
            raise MissingExtra("no package")
        return load(group, name)

    monkeypatch.setattr(registry, "load", broken)
    assert problems(job(source={"kind": "files", "anything": 1})) == []
    assert problems(job(source={"kind": "jsonl", "anything": 1}))


def test_the_command(tmp_path: Path) -> None:
    """It prints one document, or writes it to a file; a folder that is not there is said."""
    folder = Folder(tmp_path)
    code, out, _ = folder.call("schema", "json")
    assert (code, json.loads(out)) == (0, json.loads(json.dumps(job_schema())))
    assert folder.call("schema", "json", "--out", "job.json")[0] == 0
    assert json.loads((tmp_path / "job.json").read_text()) == json.loads(out)
    assert folder.call("schema", "json", "--out", "no/such/folder.json")[0] == 2
