"""A class body is put together from mixins, and a mistake in it is told with file, class and field when the file is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import SchemaError
from connector.job.loading import load_collection
from connector.schema import Collection, Field, Timestamp, Vector, VectorField, spec_of


class Tenanted(Collection, abstract=True, partitions=8, properties={"partitionkey.isolation": "true"}):
    """Rows of many customers, each searched alone."""

    tenant: str = Field(partition_key=True, max_length=32)


class Dated(Collection, abstract=True, properties={"collection.ttl.seconds": "60"}):
    """Rows that expire."""

    seen: Timestamp | None


class Foreign(Collection, abstract=True, lineage=False, consistency="Bounded"):
    """Filled by somebody else."""

    id: int = Field(primary_key=True, auto_id=True)


class Orders(Tenanted, Dated, dynamic=True, properties={"mmap.enabled": "true", "collection.ttl.seconds": "90"}):
    """Ours."""

    id: str = Field(primary_key=True, generated=True)
    vector: Vector = VectorField(dim=2, source="v")


class Archive(Foreign, Tenanted, partitions=16):
    """Theirs."""

    vector: Vector = VectorField(dim=2)


class Later(Orders):
    """A class that inherits from a whole one takes its columns, and its own keywords only."""


def test_columns_and_keywords_of_mixins_add_up() -> None:
    """Rule: columns of all of them; keywords of mixins, the class's own first; properties one by one."""
    ours = spec_of(Orders)
    assert {field.name for field in ours.columns} == {"tenant", "seen"}
    assert (ours.partitions, ours.dynamic, ours.lineage, ours.consistency) == (8, True, True, "Strong")
    assert ours.properties == {"partitionkey.isolation": "true", "collection.ttl.seconds": "90", "mmap.enabled": "true"}
    theirs = spec_of(Archive)
    assert ([field.name for field in theirs.fields], theirs.primary.auto_id) == (["tenant", "id"], True)
    assert (theirs.partitions, theirs.lineage, theirs.consistency) == (16, False, "Bounded")
    later = spec_of(Later)
    assert ([field.name for field in later.columns], later.dynamic, later.partitions) == (["seen", "tenant"], False, 8)


HEAD = """from connector.schema import HNSW, UNINDEXED, Collection, Field, Vector, VectorField


class Shop(Collection):
    '''A shop.'''

    id: str = Field(primary_key=True, max_length=64)
    vector: Vector = VectorField(dim=8, source="v")
"""
VECTOR = '    vector: Vector = VectorField(dim=8, source="v")\n'
KEY = "    id: str = Field(primary_key=True, max_length=64)\n"
MISTAKES = {
    "unknown index parameter": (
        '    other: Vector = VectorField(dim=8, source="v", index=HNSW(m=9))\n',
        "",
        ".other: index HNSW: `m`",
        "did you mean `M`?",
    ),
    "index parameter out of range": (
        '    other: Vector = VectorField(\n        dim=8,\n        source="v",\n        index=HNSW(M=1),\n    )\n',
        "",
        ".other: index HNSW: `M`",
        "efConstruction",
    ),
    "unknown argument": ("    other: str = Field(max_lenght=9)\n", "", ".other: TypeError: Field() got an unexpected keyword", "correct"),
    "metric": (
        '    other: Vector = VectorField(dim=8, source="v", metric="HAMMING")\n',
        "",
        ".other: metric HAMMING does not fit float32",
        "COSINE",
    ),
    "dimension": ('    other: Vector = VectorField(source="v")\n', "", ".other: dim is None", "dim="),
    "key too long": ("    id: str = Field(primary_key=True, max_length=65536)\n", KEY, ".id: max_length 65536 is not within", "max_length"),
    "reserved": ("    connector_key: str\n", "", ".connector_key: names that begin with `connector_` are reserved", "another name"),
    "too many vectors": (
        "".join(f'    v{number}: Vector = VectorField(dim=2, source="v")\n' for number in range(10)),
        "",
        ".v9: 11 vector fields, a server takes 10",
        "fewer",
    ),
    "a key that Milvus makes": (
        "    id: int = Field(primary_key=True, auto_id=True)\n",
        KEY,
        ".id: auto_id makes another key",
        "lineage=False",
    ),
    "no index": (
        '    other: Vector = VectorField(dim=8, source="v", index=UNINDEXED())\n',
        "",
        ".other: UNINDEXED cannot be searched",
        "lineage=False",
    ),
    "not a key, and made": (
        "    other: int = Field(auto_id=True)\n",
        "(Collection)",
        ".other: only a primary key can be made",
        "primary_key=True",
    ),
    "derived without lineage": (
        "    id: str = Field(primary_key=True, generated=True)\n",
        f"(Collection)|{KEY}",
        ".id: generated is derived from the lineage",
        "lineage=False",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_class_and_field(tmp_path: Path, mistake: str) -> None:
    """Rule: before anything is connected to, whoever loads the file reads where to look and what to write instead."""
    added, replaced, said, hint = MISTAKES[mistake]
    text = HEAD.replace(KEY, "") if KEY in replaced else HEAD
    text = text.replace("(Collection)", "(Collection, lineage=False)") if "(Collection)" in replaced else text
    path = tmp_path / "shop.py"
    path.write_text(text + added)
    with pytest.raises(SchemaError) as caught:
        load_collection(f"{path}:Shop")
    assert caught.value.message.startswith(str(path))
    assert f": Shop{said}" in caught.value.message
    assert hint in caught.value.hint


def test_two_classes_with_one_name_in_a_file(tmp_path: Path) -> None:
    """Rule: both classes are named; two files of a folder are compared by `connector schema docs`."""
    path = tmp_path / "shop.py"
    path.write_text(HEAD + "\n\n" + HEAD.partition("\n\n\n")[2].replace("class Shop(Collection)", 'class Store(Collection, name="shop")'))
    with pytest.raises(SchemaError, match="`Shop` and `Store` are both the collection `shop`"):
        load_collection(f"{path}:Shop")
