"""The data dictionary is made from the code alone, and says all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.commands.adoption.dictionary import page, specs_of
from connector.errors import SchemaError
from connector.schema import BM25, HNSW, INVERTED, Collection, Field, Vector, VectorField, spec_of
from tests.workfolder import Folder

GOLDEN = Path(__file__).parent.parent / "golden" / "dictionary.md"


class Goods(Collection, name="goods", dynamic=True, shards=2, properties={"collection.ttl.seconds": "60"}):
    """What the shop sells.

    More for readers of the file.
    """

    sku: str = Field(primary_key=True, max_length=64)
    tenant: str = Field(partition_key=True, max_length=32, description="Whose: a | b.")
    title: str = Field(max_length=512, index=INVERTED(), default="")
    tags: list[str] = Field(max_length=20, max_capacity=5)
    data: dict[str, Any] | None
    words: Vector = BM25("title")
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", index=HNSW(M=8), description="Of the title.")


class Old(Collection, name="a_old", lineage=False):
    """Made by hand."""

    id: int = Field(primary_key=True, auto_id=True)
    vector: Vector | None = VectorField(dim=4, metric="L2")


def test_the_page_is_always_the_same() -> None:
    """Rule: types, lengths, null, defaults, descriptions, encoders, indexes and lineage, in one order, whatever the day."""
    specs = sorted((spec_of(Goods), spec_of(Old)), key=lambda spec: spec.name)
    assert page(specs) == GOLDEN.read_text(encoding="utf-8")


FILE = '''
from connector.schema import Collection, Field, Vector, VectorField

class {name}(Collection):
    """Of {name}."""
    id: str = Field(primary_key=True, generated=True)
    vector: Vector = VectorField(dim=2, source="v")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with two files of schemas in `schemas`."""
    made = Folder(tmp_path)
    (tmp_path / "schemas" / "inner").mkdir(parents=True)
    made.put("schemas/zoo.py", FILE.format(name="Zoo"))
    made.put("schemas/inner/ape.py", FILE.format(name="Ape") + FILE.format(name="Bee"))
    return made


def test_folders_files_and_classes(folder: Folder) -> None:
    """Rule: by default the folder `schemas`, with what is in it, by the names of the collections."""
    code, out, _ = folder.call("schema", "docs")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("## ")] == ["## `ape`", "## `bee`", "## `zoo`"]
    assert folder.call("schema", "docs", "schemas/inner/ape.py:Bee", "schemas/zoo.py", "--out", "page.md")[0] == 0
    written = (folder.root / "page.md").read_text()
    assert [line for line in written.splitlines() if line.startswith("## ")] == ["## `bee`", "## `zoo`"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("schemas/more.py", FILE.format(name="Zoo"), "more.py: Zoo and "),
        ("schemas/more.py", FILE.format(name="New").replace("(Collection)", '(Collection, name="zoo")'), "more.py: New and "),
        ("schemas/more.py", FILE.format(name="New") + "    x: int = oops\n", "more.py, line 8: New.x: NameError: name 'oops' is not"),
        ("schemas/zoo.py", "", ""),
    ],
    ids=["same name", "same name by keyword", "broken", "empty"],
)
def test_a_folder_that_is_wrong(folder: Folder, name: str, content: str, said: str) -> None:
    """Rule: two classes with one collection name are told with both files; one broken file is told, and nothing is written."""
    folder.put(name, content)
    code, _, err = folder.call("schema", "docs", "--out", "page.md")
    assert (code, said in err) == (2 if said else 0, True), err
    assert (folder.root / "page.md").exists() == (not said)


def test_nothing_to_document(folder: Folder) -> None:
    """Rule: a folder without a collection is a mistake, not an empty page."""
    (folder.root / "empty").mkdir()
    with pytest.raises(SchemaError, match="no collection"):
        specs_of(["empty"])
