"""Words find pictures and pictures find words, end to end into Milvus Lite: one model of both, its weights loaded once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import connector
from connector.cli import app
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec
from connector.job import Job
from connector.report import RunReport
from tests.encoders.vision_models import build_pair, build_vision
from tests.pictures import varied

SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField

class Pictures(Collection):
    """Searched by words and by picture."""
    sku: str = Field(primary_key=True, max_length=16)
    image: Vector = VectorField(dim=24, encoder="clip:./pair", source="file", modality="image", metric="COSINE")

class Titles(Collection):
    """Searched by words and by picture too."""
    sku: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=80)
    vector: Vector = VectorField(dim=24, encoder="clip:./pair", source="title", modality="text", metric="COSINE")

class Products(Collection):
    """Both of one product."""
    sku: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=80)
    file: str = Field(max_length=80)
    image: Vector = VectorField(dim=24, encoder="clip:./pair", source="file", modality="image", metric="COSINE")
    text: Vector = VectorField(dim=24, encoder="clip:./pair", source="title", modality="text", metric="COSINE")

class Notes(Collection):
    """Passages of texts."""
    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=400)
    vector: Vector = VectorField(dim=24, encoder="clip:./pair", modality="text", metric="COSINE")

class Unsaid(Collection):
    """Nothing says what its field holds."""
    sku: str = Field(primary_key=True, max_length=16)
    vector: Vector = VectorField(dim=24, encoder="clip:./pair", source="file")

class Taps(Collection):
    """Three layers of one model."""
    sku: str = Field(primary_key=True, max_length=16)
    early: Vector = VectorField(dim=32, encoder="transformers-image:./vit", source="file", layer="0", pooling="mean")
    middle: Vector = VectorField(dim=32, encoder="transformers-image:./vit", source="file", layer="1", pooling="cls")
    late: Vector = VectorField(dim=32, encoder="transformers-image:./vit", source="file")
'''
TITLES = ["a red cat", "the dog sat", "blue green points", "a database over and under", "near the mat", "milvus finds"]
EXACT: dict[str, Any] = {"precision": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP."""
    return build_pair(tmp_path_factory.mktemp("models") / "pair")


@pytest.fixture(autouse=True)
def _world(pair: Path, tmp_path: Path) -> None:
    """Six products with a title and a picture file each, in a table that names the files."""
    (tmp_path / "pair").symlink_to(pair)
    (tmp_path / "schema.py").write_text(SCHEMA)
    (tmp_path / "pictures").mkdir()
    rows = [{"sku": f"s{number}", "title": title, "file": f"{number}.png"} for number, title in enumerate(TITLES)]
    for number in range(len(rows)):
        varied(50 + number, 40, number).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "t.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def settings(into: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """A job over the table; picture paths count from `pictures`."""
    where = {"source": {"kind": "jsonl", "path": "t.jsonl"}, "root": "pictures", "milvus": {"uri": "t.db"}}
    return {"job": "t", "into": f"schema.py:{into}", **where, "encode": dict.fromkeys(fields, EXACT)}


def job(into: str, fields: tuple[str, ...]) -> Job:
    """The same, read."""
    return Job.check(settings(into, fields), "t.yaml")


def run(into: str, *fields: str) -> RunReport:
    """Runs it; every row must land."""
    report = connector.run(job(into, fields))
    assert (report.exit_code, report.counts.written) == (0, 6)
    return report


def found(into: str, query: Any, field: str = "image", **options: Any) -> list[str]:
    """Keys of all rows, nearest first."""
    return [str(hit.id) for hit in connector.search(job(into, (field,)), query, field=field, limit=6, **options)]


def nearest(query: Any, stored: list[Any]) -> list[str]:
    """The same by plain arithmetic on the encoder's vectors."""
    with connector.encoder("clip:./pair", device=DeviceSpec(**EXACT)) as handle:
        scores = handle.encode(stored) @ handle.encode([query], role="query")[0]
    return [f"s{number}" for number in np.argsort(-np.asarray(scores, dtype=np.float64))]


def pictures() -> list[Any]:
    """The stored pictures, as queries."""
    return [connector.Image(f"pictures/{number}.png") for number in range(6)]


def test_pictures_by_words_and_by_picture() -> None:
    """A table's path column holds pictures; words, a picture's path and its bytes find them in the order of their cosines."""
    run("Pictures", "image")
    orders = {tuple(found("Pictures", words)) for words in TITLES}
    assert len(orders) > 1, "all words alike would prove nothing"
    for words in TITLES[:3]:
        assert found("Pictures", words) == nearest(words, pictures())
    for number, picture in enumerate(pictures()):
        assert found("Pictures", picture)[0] == f"s{number}"
    assert found("Pictures", pictures()[2]) == nearest(pictures()[2], pictures())
    assert found("Pictures", connector.Image(Path("pictures/4.png").read_bytes()))[0] == "s4"


def test_words_by_words_and_by_picture() -> None:
    """The other way round: stored titles are found by words and by a picture."""
    run("Titles", "vector")
    for number, words in enumerate(TITLES):
        assert found("Titles", words, "vector")[0] == f"s{number}"
    for picture in pictures()[:3]:
        assert found("Titles", picture, "vector") == nearest(picture, TITLES)


def test_both_fields_load_the_weights_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field of pictures and a field of words that name one model share it: one loading, one pass a kind of input and batch."""
    from connector.encoders import clip_model

    loads: list[str] = []
    passes: list[str] = []
    load, pictures_of, words_of = clip_model.load, clip_model._pictures, clip_model.ClipModel._words
    monkeypatch.setattr(clip_model, "load", counted(loads, load))
    monkeypatch.setattr(clip_model, "_pictures", counted(passes, pictures_of))
    monkeypatch.setattr(clip_model.ClipModel, "_words", counted(passes, words_of))
    monkeypatch.setattr("connector.encoding.probing.inputs", lambda *_: ())  # the probe has passes of its own
    run("Products", "image", "text")
    assert len(loads) == 1
    assert sorted(passes) == ["_pictures", "_words"]
    words = TITLES[1]
    assert found("Products", words, "image") == nearest(words, pictures())
    assert found("Products", pictures()[3], "text") == nearest(pictures()[3], TITLES)
    with pytest.raises(ConfigError, match="which vector field"):
        connector.search(job("Products", ()), words)


def counted(calls: list[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which notes each call."""

    def wrapped(*args: Any, **options: Any) -> Any:
        calls.append(function.__name__)
        return function(*args, **options)

    return wrapped


def test_three_layers_are_one_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three fields of one vision model and one column cost one pass a picture."""
    from connector.encoders import vision_model

    build_vision(tmp_path / "vit", "vit")
    seen: list[int] = []
    take = vision_model._take

    def counting(network: Any, pixels: Any, heads: Any, **about: Any) -> Any:
        network.layers[0].register_forward_hook(lambda *_: seen.append(len(pixels)))
        return take(network, pixels, heads, **about)

    monkeypatch.setattr(vision_model, "_take", counting)
    monkeypatch.setattr("connector.encoding.probing.inputs", lambda *_: ())  # the probe has passes of its own
    run("Taps", "early", "middle", "late")
    assert seen == [6]


def test_long_texts_are_split_to_what_the_model_reads(tmp_path: Path) -> None:
    """The splitter takes the limit from the model: no passage is longer than its 75 tokens, and nothing is cut off."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text(" ".join(f"{title}." for title in TITLES * 4))
    where = {"source": {"kind": "files", "root": "notes"}, "into": "schema.py:Notes", "milvus": {"uri": "t.db"}}
    report = connector.run(Job.check({"job": "notes", **where, "encode": {"vector": EXACT}}, "t.yaml"))
    assert report.rows.upserted > 4
    assert report.truncated == 0
    hits = connector.search(Job.check({"job": "notes", **where}, "t.yaml"), TITLES[1], limit=50)
    assert sum(len(hit.fields["text"].replace(" ", "")) for hit in hits) == 4 * sum(len(f"{one}.".replace(" ", "")) for one in TITLES)


def test_from_the_command_line(tmp_path: Path) -> None:
    """`search` takes words or a picture's file for the same field."""
    (tmp_path / "job.yaml").write_text(json.dumps({"version": 1, **settings("Pictures", ("image",))}))
    assert CliRunner().invoke(app, ["run", "job.yaml"]).exit_code == 0
    by_picture = CliRunner().invoke(app, ["search", "job.yaml", "--image", "pictures/5.png", "--json"])
    assert json.loads(by_picture.stdout)[0]["id"] == "s5"
    by_words = CliRunner().invoke(app, ["search", "job.yaml", TITLES[0], "--json"])
    assert [hit["id"] for hit in json.loads(by_words.stdout)] == nearest(TITLES[0], pictures())


def test_a_field_that_nothing_names_is_asked_for() -> None:
    """Words or pictures: a model that reads both cannot tell a path from a text, so the schema has to."""
    with pytest.raises(ConfigError, match=r'nothing says which this field holds  hint: write modality="image", or "text"'):
        connector.run(job("Unsaid", ()))
