"""Writes declarations as a Markdown page for people: what each collection is for, and what stands in each of its fields.

It is made from the code alone, so the same code gives the same page: it can be committed, and compared with what the code says now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from connector.errors import SchemaError
from connector.job.loading import collections_of
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec, VectorFieldSpec

_EXPLAINED = {
    LINEAGE[0]: "The namespace of the job that wrote the row.",
    LINEAGE[1]: "The key of the document that the row was made from.",
    LINEAGE[2]: "Content hash, fingerprint of the settings, and number of rows of that document.",
}


def specs_of(targets: Sequence[str]) -> list[CollectionSpec]:
    """The declarations that are named: `file.py:Class`, `file.py` or a folder of such files; by name.

    Raises:
        SchemaError: A file does not import, there is no collection, or two of them have one name.
    """
    specs: dict[str, CollectionSpec] = {}
    for one in (spec for target in targets for spec in _specs(target)):
        other = specs.setdefault(one.name, one)
        if other.where != one.where:
            said = f"{other.where} and {one.where} are both the collection `{one.name}`"
            raise SchemaError(said, hint='give one another name: class Products(Collection, name="...")')
    return sorted(specs.values(), key=lambda spec: spec.name)


def _specs(target: str) -> Iterator[CollectionSpec]:
    path = Path(target)
    files = sorted(path.rglob("*.py")) if path.is_dir() else [target]
    found = [spec for one in files for spec in collections_of(str(one))]
    if not found:
        raise SchemaError(f"{target}: no collection", hint="name schemas/products.py:Products, a file, or a folder of such files")
    yield from found


def page(specs: Sequence[CollectionSpec]) -> str:
    """The page."""
    return "\n".join(["# Collections", *(line for spec in specs for line in ("", *_collection(spec)))]) + "\n"


def _collection(spec: CollectionSpec) -> Iterator[str]:
    yield f"## `{spec.name}`"
    yield ""
    if spec.description:
        yield from (_text(spec.description), "")
    yield f"{'; '.join(_facts(spec))}."
    own = [one for one in spec.fields if not (spec.lineage and one.name in LINEAGE)]
    yield from ("", *_table(("field", "type", "null", "default", "index", "description"), [_scalar(one) for one in own]))
    head = ("vector", "type", "dim", "metric", "index", "null", "encoder", "made from", "description")
    yield from ("", *_table(head, [_vector(one) for one in spec.vectors]))
    if spec.lineage:
        yield from ("", "Lineage, written by `connector` with every row:", "")
        lineage = [one for one in spec.fields if one.name in LINEAGE]
        yield from _table(("field", "type", "description"), [(f"`{one.name}`", _type(one), _EXPLAINED[one.name]) for one in lineage])


def _facts(spec: CollectionSpec) -> Iterator[str]:
    yield "Filled by `connector`" if spec.lineage else "Filled by somebody else, read by `connector`"
    yield f"consistency {spec.consistency}"
    yield f"{spec.shards} shard{'s' if spec.shards > 1 else ''}"
    if spec.partitions is not None:
        yield f"{spec.partitions} partitions"
    if spec.dynamic:
        yield "takes further fields (dynamic)"
    yield from (f"`{key}` = `{value}`" for key, value in sorted(spec.properties.items()))


def _scalar(field: FieldSpec) -> tuple[str, ...]:
    keys = (
        ("primary_key", "primary key"),
        ("generated", "derived from the document"),
        ("auto_id", "made by Milvus"),
        ("partition_key", "partition key"),
    )
    said = ", ".join(words for name, words in keys if getattr(field, name))
    default = "" if field.default is None else f"`{json.dumps(field.default, ensure_ascii=False)}`"
    return (
        f"`{field.name}`",
        _type(field),
        _yes(nullable=field.nullable),
        _text(default),
        _index(field.index),
        _text(". ".join(filter(None, (said, field.description)))),
    )


def _vector(field: VectorFieldSpec) -> tuple[str, ...]:
    made = "computed by the server" if field.computed else "ready-made" if field.encoder is None else f"`{field.encoder}`"
    return (
        f"`{field.name}`",
        field.dtype,
        str(field.dim or ""),
        field.metric,
        _index(field.index),
        _yes(nullable=field.nullable),
        made,
        f"`{field.source}`" if field.source else "",
        _text(field.description),
    )


def _type(field: FieldSpec) -> str:
    length = f"({field.max_length} bytes)" if field.max_length is not None else ""
    return f"ARRAY of {field.element}{length}, at most {field.max_capacity}" if field.type == "ARRAY" else f"{field.type}{length}"


def _yes(*, nullable: bool) -> str:
    return "yes" if nullable else ""


def _index(index: Any) -> str:
    if index is None or not index.type:
        return ""
    return " ".join([index.type, *(f"{name}={value}" for name, value in index.params.items())])


def _text(text: str) -> str:
    """In one line, without what ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _line(head)
    yield _line(["---"] * len(head))
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
