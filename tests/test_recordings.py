"""Recordings all the way: a folder of files, a model, Milvus Lite, and a search by sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.cli import main
from connector.errors import ConfigError
from connector.schema import Collection, Field, Vector, VectorField
from tests.encoders.test_transformers_audio import save
from tests.recordings import encoded, tone

MODEL = Path("models", "wav2vec2-base")


class Sounds(Collection):
    """One row a recording."""

    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=100)
    duration: float = 0.0
    vector: Vector = VectorField(dim=64, encoder="transformers-audio:./models/wav2vec2-base", metric="COSINE")


class Library(Collection):
    """A table whose column names recordings."""

    name: str = Field(primary_key=True, max_length=20)
    audio: Vector = VectorField(dim=64, encoder="transformers-audio:./models/wav2vec2-base", source="file", metric="COSINE", pooling="max")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    """A model, six recordings in five formats, and three files that are none."""
    save(MODEL, "wav2vec2-base")
    Path("in").mkdir()
    kinds = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "WAV")
    for seed, kind in enumerate(kinds):
        Path("in", f"{seed}.{kind.lower()}").write_bytes(encoded(tone(1.0, 22_050, seed), 22_050, kind))
    Path("in", "cut.wav").write_bytes(encoded()[:9000])
    Path("in", "cut.flac").write_bytes(encoded(kind="FLAC")[:6000])
    Path("in", "silent.wav").write_bytes(encoded(np.zeros(9000, np.float32)))


def run(**settings: Any) -> connector.RunReport:
    """All files into the collection."""
    return connector.run(connector.source("files", root="in"), into=Sounds, milvus="./s.db", rejects={"fail_over": 3}, **settings)


def test_reverse_search_by_sound(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every good file lands, every bad one is named; a louder copy at another rate finds its original; the second run has nothing to do."""
    report = run()
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (0, 6, 3)
    said = {one["document"]: one["reason"] for one in connector.rejects(Path(write_job()))}
    assert "truncated WAV" in said["cut.wav"]
    assert "truncated or damaged recording" in said["cut.flac"]
    assert "silent recording" in said["silent.wav"]
    again = run()
    assert (again.counts.unchanged, again.encoded) == (6, 0)
    for seed, name in ((1, "1.flac"), (2, "2.ogg"), (3, "3.mp3")):
        [hit] = connector.search(Sounds, connector.Audio((tone(1.0, 44_100, seed) * 1.5, 44_100)), milvus="./s.db", limit=1)
        assert hit.fields["path"] == name
        assert hit.fields["duration"] == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ConfigError, match=r"vector is searched by audio, not by text.*--audio FILE for recordings"):
        connector.search(Sounds, "a dog barks", milvus="./s.db")
    Path("query.flac").write_bytes(encoded(tone(1.0, 48_000, 4), 48_000, "FLAC"))
    assert command(["search", "job.yaml", "--audio", "query.flac", "--limit", "1"], monkeypatch, capsys) == (0, True)
    assert command(["search", "job.yaml", "--audio", "job.yaml"], monkeypatch, capsys) == (2, False)
    assert command(["search", "job.yaml", "--audio", "query.flac", "--image", "x.png"], monkeypatch, capsys) == (2, False)


def write_job() -> str:
    """The same as a job file, which reads the ledger of `run`."""
    Path("schema.py").write_text(Path(__file__).read_text())
    ledger = next(Path(".connector").glob("*.db"))
    into = "into: schema.py:Sounds\nmilvus: {uri: ./s.db}\n"
    Path("job.yaml").write_text(
        f"version: 1\njob: {ledger.stem}\nnamespace: sounds\nsource: {{kind: files, root: in}}\nstate: {ledger}\n{into}"
    )
    return "job.yaml"


def command(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, bool]:
    """The exit code of a command, and whether it told of the fifth recording."""
    monkeypatch.setattr("sys.argv", ["connector", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), "path: 4.aiff" in capsys.readouterr().out


def test_a_column_that_names_recordings() -> None:
    """A table's paths are read below its root, and a changed file is encoded again."""
    rows = [{"name": name, "file": name} for name in ("0.wav", "1.flac", "../job.yaml")]
    first = connector.run(rows, into=Library, milvus="./l.db", root="in", rejects={"fail_over": 1})
    assert (first.counts.written, first.counts.rejected) == (2, 1)
    [hit] = connector.search(Library, connector.Audio("in/1.flac"), milvus="./l.db", limit=1)
    assert hit.id == "1.flac"
    Path("in", "0.wav").write_bytes(encoded(tone(0.5, seed=9)))
    again = connector.run(rows, into=Library, milvus="./l.db", root="in", rejects={"fail_over": 1})
    assert (again.counts.written, again.counts.unchanged) == (1, 1)
