"""The script that shows a switch of models does what it prints, here with fake encoders, few rows, and commands in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connector.milvus.settings import MilvusSettings
from tests.bench import switching
from tests.bench.switching import inside, routine
from tests.bench.watching import Client, Models, Transcript
from tests.milvus.tiers import TIERS

LINES = 'dim=8, encoder="fake:fake"', 'dim=4, truncate_dim=4, encoder="fake:other"'


@pytest.mark.parametrize("tier", TIERS[1:])
def test_the_whole_routine_with_searches_all_the_while(
    tier: str, database: MilvusSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: every step ends as promised, no answer is mixed or lost, and a client with vectors of its own is refused after the switch."""
    monkeypatch.setattr(switching, "ROLLBACK", 60.0)  # other tests share the cores
    assert routine(tmp_path, database, 60, inside, LINES, index=False) == []
    shown = capsys.readouterr().out
    assert "connector.search: " in shown
    assert " whole answers, 0 mixed, 0 errors" in shown
    assert "$ connector prune job.yaml --yes\ndropped products__g1\n  -> exit code 0" in shown
    [line] = [line for line in shown.splitlines() if line.startswith("raw client: ")]
    assert int(line.split(", ")[2].split()[0]) > 0, "vectors of another length are refused"


def test_what_is_not_as_promised_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Rule: a step that ends otherwise, or says something else, is a problem; so is an answer of two models."""
    models = Models(MilvusSettings(uri="x.db"), None)
    for name, vector in (("old", [1.0, 0.0]), ("new", [0.0, 2.0])):
        models._known[name] = {f"p{number}": np.array(vector) for number in range(6)}
    near = [(f"p{n}", 1.0) for n in range(5)]
    assert models.judge("p0", near) == "old"
    assert models.judge("p0", [(key, 4.0) for key, _ in near]) == "new"
    assert models.judge("p0", [*near[:4], ("p4", 4.0)]) == models.judge("p0", near[:4]) == ""
    client = Client("one", lambda _: near, lambda *_: "", ["p0"])
    client.answers["plan", "mixed"] = 2
    assert client.mixed == 2
    transcript = Transcript(lambda _: (3, "nothing like it", 0.1), [client])
    transcript.step("plan job.yaml", code=10, says="inputs")
    assert transcript.problems == ["`connector plan job.yaml` ended with 3, wanted 10 and 'inputs'"]
    assert "one: 0 whole answers, 2 mixed, 0 errors" in transcript.table()
    capsys.readouterr()
