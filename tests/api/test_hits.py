"""Hits that show themselves: escaped, with small pictures of files that lie where the job's files lie, and of no others."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import connector
from connector.api.hits import Hits
from connector.milvus.search import Hit
from tests.pictures import varied
from tests.workfolder import Folder


def pictures(html: str) -> list[Image.Image]:
    """Those in the page, decoded."""
    found = re.findall(r'src="data:image/jpeg;base64,([A-Za-z0-9+/=]+)"', html)
    return [Image.open(BytesIO(base64.b64decode(one))) for one in found]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of pictures, with a secret one beside it."""
    for name in ("shelf/red.png", "shelf/two words.jpg", "secret.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        varied(300, 200, 1).save(path)
    (tmp_path / "shelf/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "shelf/broken.png").write_bytes((tmp_path / "shelf/red.png").read_bytes()[:300])
    (tmp_path / "shelf/text.png").write_text("no picture")
    return tmp_path / "shelf"


def shown(shelf: Path, **fields: object) -> str:
    """The page of one hit."""
    return Hits([Hit("k", 0.5, fields)], [shelf])._repr_html_()


def test_a_table_of_hits(shelf: Path) -> None:
    """Distance, key and every field that any hit has; markup in the data stays text; long values are cut."""
    hits = Hits([Hit("<b>k</b>", 0.98765, {"title": "<img src=x onerror=alert(1)>"}), Hit(7, 0.5, {"price": None, "text": "word " * 200})])
    html = hits._repr_html_()
    assert html.count("<tr>") == 3
    assert "<th>title</th><th>price</th><th>text</th>" in html
    assert "0.988" in html
    assert "<b>" not in html
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert len(html) < 1000
    assert hits[0].id == "<b>k</b>"


def test_pictures_are_shown_small(shelf: Path) -> None:
    """A field that names a picture file, by a path below the folder, an absolute one, or a file: URI."""
    uri = (shelf / "two words.jpg").as_uri()
    found = pictures(shown(shelf, path="red.png", uri=uri, whole=str(shelf / "red.png")))
    assert [one.size for one in found] == [(96, 64)] * 3
    assert 'title="red.png"' in shown(shelf, path="red.png")


@pytest.mark.parametrize(
    "name", ["../secret.png", "link.png", "broken.png", "text.png", "nothing.png", "red.txt", "a\0b.png", "x" * 5000 + ".png"]
)
def test_nothing_else_is_opened(shelf: Path, name: str) -> None:
    """What leads out of the folder, is damaged or is no picture is shown as the text that it is."""
    assert pictures(shown(shelf, path=name)) == []
    assert pictures(shown(shelf, path=str(shelf.parent / "secret.png"))) == []


def test_a_search_gives_them(tmp_path: Path) -> None:
    """A list as before, which knows the job's folders."""
    folder = Folder(tmp_path)
    folder.put("notes/a.txt", "about tea")
    job = connector.Job.from_yaml("job.yaml")
    job.run()
    hits = connector.search(job, "about tea")
    assert isinstance(hits, list)
    assert isinstance(hits, connector.Hits)
    assert [hit.fields["path"] for hit in hits] == ["a.txt"]
    assert "about tea" in hits._repr_html_()
    varied(30, 20, 1).save(tmp_path / "notes/tea.png")
    assert len(pictures(Hits.of(job, [Hit("k", 1.0, {"path": "tea.png"})])._repr_html_())) == 1
