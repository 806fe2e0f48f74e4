"""The oracle finds each kind of error, in any job, and the failpoints fail where they are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.errors import PlanNeeded
from connector.job import Job
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Document, Payload, Removed, Window
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.testing.encoders import fake_vector
from connector.testing.failpoints import EXIT_CODE, environment, failing
from connector.testing.oracle import check_job, compare
from connector.testing.sources import ListSource


class Notes(Collection):
    """Rows with a generated key."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


class People(Collection):
    """Rows with a key of their own."""

    id: str = Field(primary_key=True, max_length=20)
    text: str = Field(max_length=100)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


def row(text: str, *, bend: float = 0.0) -> dict[str, Any]:
    """A row, its vector bent by so much."""
    return {"text": text, "vector": fake_vector(text) * (1 + bend)}


def test_compare_finds_every_kind() -> None:
    """Missing, doubled, stale by value or by vector, and foreign rows are told apart and named."""
    expected = {name: row(name) for name in "abcde"}
    found = [("a", row("a", bend=1e-6)), ("b", row("x")), ("c", row("c", bend=1e-2)), ("d", row("d")), ("d", row("d")), ("z", row("z"))]
    verdict = compare(expected, found, counted=7)
    assert (verdict.missing, verdict.doubled, verdict.stale, verdict.foreign) == (["e"], ["d", None], ["b", "c"], ["z"])
    assert verdict.counts == {"missing": 1, "doubled": 2, "stale": 2, "foreign": 1}
    assert not verdict.right
    assert compare(expected, list(expected.items())).right


def test_compare_looks_at_the_expected_values_only() -> None:
    """A row may hold more than is expected of it, and never less."""
    assert compare({"a": {"text": "a"}}, [("a", row("a"))]).right
    assert compare({"a": row("a")}, [("a", {"text": "a"})]).stale == ["a"]
    assert compare({"a": {"v": np.ones(2)}}, [("a", {"v": np.ones(3)})]).stale == ["a"]


def job(tmp_path: Path, items: list[Any], **given: Any) -> Job:
    """A job over these items."""
    source = ListSource(items, given.pop("mode", "listing"))
    values = {"job": "j", "into": Notes, "source": source, "state": tmp_path / "state.db", "milvus": {"uri": str(tmp_path / "x.db")}}
    return Job.check({**values, **given}, "test")


def test_any_job_is_checked_against_its_source(tmp_path: Path) -> None:
    """Right after a run; wrong when the source goes on, and when somebody writes or deletes behind our back."""
    items: list[Any] = [{"key": f"k{number}", "text": f"text {number}"} for number in range(5)]
    one = job(tmp_path, items, sync="mirror")
    with pytest.raises(PlanNeeded):
        check_job(one)
    connector.run(one)
    assert check_job(one).right
    items[0] = {"key": "k0", "text": "changed"}
    del items[4]
    items.append({"key": "new", "text": "new"})
    assert check_job(one).counts == {"missing": 1, "doubled": 0, "stale": 1, "foreign": 1}
    connector.run(one)
    assert check_job(one).right
    with connect(MilvusSettings(uri=str(tmp_path / "x.db"))) as connection:
        sink = MilvusSink(connection, "notes__g1", spec_of(Notes))
        [victim, other, *_] = sink.scan("j", ["id", "text", "vector", "connector_namespace", "connector_key", "connector_content"])
        sink.delete([victim["id"]])
        sink.write(Window([], [{**other, "text": "tampered"}], {"vector": other["vector"][None]}))
    assert check_job(one).counts == {"missing": 1, "doubled": 0, "stale": 1, "foreign": 0}


def test_a_source_that_tells_changes(tmp_path: Path) -> None:
    """Of a document that comes twice the later version counts; a removed one is not expected; a moved key has one owner."""

    def person(document: str, key: str, text: str) -> Document:
        return Document(document, lambda: Payload({"id": key, "text": text}))

    items: list[Any] = [
        *(person("a", "1", "first"), person("b", "2", "b"), person("a", "1", "second")),
        *(Removed("b"), person("c", "3", "c"), person("d", "3", "of d now")),
    ]
    one = job(tmp_path, items, into=People, mode="cursor")
    connector.run(one)
    assert check_job(one).right
    items += [person("a", "9", "moved"), Removed("d")]
    assert check_job(one).counts == {"missing": 1, "doubled": 0, "stale": 0, "foreign": 2}


def test_rejected_rows_are_not_expected(tmp_path: Path) -> None:
    """What a run cannot write is not missing."""
    one = job(tmp_path, [{"key": "a", "text": "a"}, {"key": "b", "text": "x" * 101}, {"key": "a", "text": "twice"}])
    assert connector.run(one).counts.rejected == 2
    assert check_job(one).right


def test_failing_fails_once_and_only_in_its_block(tmp_path: Path) -> None:
    """A run that is made to fail leaves what the next one repairs; the passages are counted from the block's beginning."""
    items: list[Any] = [{"key": f"k{number}", "text": f"text {number}"} for number in range(5)]
    one = job(tmp_path, items)
    for _ in range(2):
        with failing("sink.acknowledged:1:raise"), pytest.raises(RuntimeError, match=r"sink\.acknowledged"):
            connector.run(one)
        items.append({"key": f"more{len(items)}", "text": "more"})
    assert "CONNECTOR_FAILPOINT" not in os.environ
    connector.run(one)
    assert check_job(one).right


@pytest.mark.parametrize(("action", "code"), [("exit", EXIT_CODE), ("kill", -9), ("raise", 1), ("jump", 1), ("sleep=0.01", 0)])
def test_actions(action: str, code: int) -> None:
    """What each action does to a process; a misspelt one is no silent success."""
    program = "from connector.faults import hit\ntry:\n    hit('mine.page')\nfinally:\n    print('cleaned up')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(f"mine.page:1:{action}"), capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("cleaned up" in done.stdout) == (code in {0, 1})
    assert ("no action 'jump'" in done.stderr) == (action == "jump")
    assert "CONNECTOR_FAILPOINT" not in environment()
