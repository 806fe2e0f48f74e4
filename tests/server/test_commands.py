"""The command line on a real server: from plan to search, and what is noticed that changed behind our back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from connector.cli import app
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.faults.workshop import Workshop, history


def call(*words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command in the working folder, which is the workshop's."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def run() -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON document, stderr) of `run`."""
    code, out, err = call("run", "job.yaml", "--json")
    return code, json.loads(out), err


def test_plan_apply_run_search_status(shop: Workshop) -> None:
    """The way of a newcomer is the same as on Milvus Lite."""
    history(shop)
    code, out, _ = call("plan", "job.yaml")
    assert (code, "+ create collection notes__g1" in out) == (10, True)
    assert call("apply", "job.yaml")[0] == 0
    assert call("plan", "job.yaml")[:2] == (0, "no changes: the live collection is what the code says\n")
    code, report, _ = run()
    assert (code, report["counts"]["listed"], report["rows"]["upserted"]) == (0, 13, len(shop.expected()))
    code, out, _ = call("search", "job.yaml", "long line 7", "--json", "--limit", "1")
    [hit] = json.loads(out)
    assert (code, hit["fields"]["path"], round(hit["distance"], 3)) == (0, "long.txt", 1.0)
    code, out, _ = call("search", "job.yaml", "--like", hit["id"], "--json")
    assert json.loads(out)[0]["id"] == hit["id"]
    assert json.loads(call("status", "job.yaml", "--json")[1])["runs"][0]["exit_code"] == 0
    assert run()[1]["counts"]["unchanged"] == 13
    assert shop.converged("server: nothing")


def test_changed_schema_is_refused_by_name(shop: Workshop) -> None:
    """Code and live collection differ: exit 2 and what differs; nothing is written."""
    shop.write("a", 1)
    assert run()[0] == 0
    schema = shop.folder / "notes_schema.py"
    schema.write_text(schema.read_text().replace("fake:fake", "fake:other").replace("max_length=200", "max_length=210"))
    code, document, err = run()
    assert (code, document["error"]) == (2, "PlanNeeded")
    assert "path: max_length 200 live, 210 in code" in err
    assert "vector: encoder model.model fake live, other in code" in err


def test_dropped_collection_is_noticed(shop: Workshop, database: MilvusSettings) -> None:
    """A collection that was dropped between two runs is filled again, never "0 changed"."""
    shop.write("a", 3)
    assert run()[0] == 0
    with connect(database) as connection:
        Catalog(connection).drop("notes__g1")
    assert run()[1]["counts"]["written"] == 1
    assert shop.converged("server: collection dropped between two runs")


def test_lost_ledger_costs_no_encoding(shop: Workshop) -> None:
    """A container that lost its disk reads everything again and encodes nothing."""
    history(shop)
    assert run()[0] == 0
    for path in shop.folder.glob("state.db*"):
        path.unlink()
    report = run()[1]
    assert (report["encoded"], report["counts"]["listed"] - report["counts"]["unchanged"] - report["counts"]["empty"]) == (0, 0)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("note: str | None = Field(max_length=9)", "nullable fields"),
        ('other: Vector = VectorField(dim=8, encoder="fake:fake")', "a second vector field"),
    ],
)
def test_what_this_server_cannot_hold_is_refused_before_anything_is_made(
    shop: Workshop, database: MilvusSettings, field: str, said: str
) -> None:
    """Exit 2 with the feature, the field and the version that has it; the database stays empty."""
    schema = shop.folder / "notes_schema.py"
    schema.write_text(f"{schema.read_text()}    {field}\n")
    code, _, err = run()
    assert (code, said in err, "Milvus 2.3.5" in err) == (2, True, True), err
    with connect(database) as connection:
        assert connection.call("list", connection.client.list_collections) == []
