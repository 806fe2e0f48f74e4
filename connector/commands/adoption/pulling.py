"""Writes a live collection down as a schema file that is compared with it and found equal.

What a declaration cannot say stands as a comment beside what it is about, and is returned, so that nobody takes the file for more than it
is. The text is imported and compared with what was read before anybody gets it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.commands.adoption.written import class_name, source_text
from connector.errors import ConfigError, ConnectorError, PlanNeeded, Refused, SchemaError, nearest
from connector.job import Job
from connector.job.loading import load_collection
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.survey import Note, Survey
from connector.plan.stamp import ENCODERS, STAMP, Stamp
from connector.schema import indexes
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec, VectorFieldSpec


@dataclass(frozen=True, slots=True)
class Pulled:
    """A collection as code.

    Attributes:
        collection: Its physical name.
        reference: The class, as `file.py:Class`; the file is "" until it is written.
        text: Of the file.
        lost: What the file cannot say, a sentence each.
    """

    collection: str
    reference: str
    text: str
    lost: tuple[str, ...]

    def save(self, path: Path, *, force: bool = False) -> Pulled:
        """Writes the file.

        Raises:
            Refused: It exists, and `force` is missing; nothing was changed.
            ConfigError: It cannot be written.
        """
        if path.exists() and not force:
            raise Refused(f"{path} exists; nothing was changed", hint="give another --out, or --force to write over it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}", hint="give a file in a folder that exists") from None
        return Pulled(self.collection, f"{path}:{self.reference.removeprefix(':')}", self.text, self.lost)


def pull(settings: MilvusSettings, name: str) -> Pulled:
    """The collection of this name, or behind this alias, as code; changes nothing.

    Raises:
        ConfigError: There is none.
        SchemaError: It cannot be declared at all; says why.
    """
    with connect(settings) as connection:
        found = _survey(connection, name)
    stamp = Stamp.from_json(found.properties[STAMP]) if STAMP in found.properties else None
    spec, notes = _of_stamp(stamp, found) if stamp else found.spec, found.notes
    title = f"`{name}` as it is in Milvus{'' if spec.lineage else '; somebody else fills it'}."
    text = source_text(spec, title, list(_comments(found, spec, notes)), _remarks(spec, notes, told=found.told))
    _check(text, spec)
    return Pulled(found.collection, f":{class_name(spec.name)}", text, tuple(map(_sentence, notes)))


def pull_job(job: Job) -> Pulled:
    """The collection that a job writes to, as code; the job's own schema file need not exist."""
    try:
        name = load_collection(job.into).name
    except SchemaError:
        name = str(job.into).rpartition(":")[2].lower()
    return pull(job.milvus, name)


def _survey(connection: Connection, name: str) -> Survey:
    try:
        return Catalog(connection).survey(name)
    except PlanNeeded as error:
        there = connection.call("list collections", connection.client.list_collections)
        raise ConfigError(error.message, hint=nearest(name, there)) from None


def _of_stamp(stamp: Stamp, found: Survey) -> CollectionSpec:
    """The declaration that a collection of ours was made with, as far as its stamp keeps it."""
    spec, words = stamp.spec, json.loads(found.properties.get(ENCODERS, "{}"))
    told = {one.name: one.description for one in found.spec.members}
    vector_names = {one["name"] for one in spec["vectors"]}
    made = {name: _stamped_index(index, vector=name in vector_names) for name, index in spec["indexes"].items()}
    fields = [{**one, "index": made.get(one["name"]), "description": told.get(one["name"], "")} for one in spec["fields"]]
    vectors = []
    for one in spec["vectors"]:
        head = (stamp.identity.get(one["name"]) or {}).get("head") or {}
        taken = {key: head.get(key) for key in ("layer", "pooling", "normalize", "truncate_dim")}
        named = {**one, **taken, **words.get(one["name"], {}), "description": told.get(one["name"], "")}
        vectors.append(VectorFieldSpec(**named, index=made.get(one["name"]) or indexes.UNINDEXED()))
    kept = {key: spec[key] for key in ("dynamic", "shards", "partitions", "consistency", "properties")}
    return CollectionSpec(
        name=found.spec.name,
        description=found.spec.description,
        fields=tuple(FieldSpec(**one) for one in fields),
        vectors=tuple(vectors),
        lineage=spec.get("lineage", True),
        **kept,
    )


def _stamped_index(index: dict[str, Any], *, vector: bool) -> Any:
    given = {key: value for key, value in index.items() if key != "type"}
    kind = {"Trie": "TRIE"}.get(index["type"], index["type"])
    made = getattr(indexes, kind, None)
    return made(**given) if made is not None else (indexes.OTHER if vector else indexes.OTHER_SCALAR)(name=index["type"], parameters=given)


def _comments(found: Survey, spec: CollectionSpec, notes: tuple[Note, ...]) -> Iterator[str]:
    if found.aliases:
        yield f"Aliases: {', '.join(found.aliases)}."
    if found.collection != spec.name:
        yield f"The collection itself is called {found.collection}."
    if not found.told:
        yield "Milvus Lite tells neither the parameters of indexes nor consistency and shards: what stands here are the defaults."
    if any(one.encoder is None and not one.computed for one in spec.vectors):
        yield 'Who made the vectors is not told. If you know it: encoder="kind:model", source="the column that was encoded".'
    members = {one.name for one in spec.members}
    yield from (f"Not said here: {_sentence(note)}." for note in notes if note[0] not in members)


def _remarks(spec: CollectionSpec, notes: tuple[Note, ...], *, told: bool) -> list[tuple[str, str]]:
    members = {one.name for one in spec.members}
    remarks = [(name, f"Not said here: {what}.") for name, what in notes if name in members]
    untold = [one.name for one in spec.fields if not told and one.type == "ARRAY" and one.element == "VARCHAR" and one.max_length is None]
    return [*remarks, *((name, "Milvus Lite does not tell max_length of the elements.") for name in untold)]


def _sentence(note: Note) -> str:
    return f"{note[0]}: {note[1]}" if note[0] else note[1]


def _check(text: str, spec: CollectionSpec) -> None:
    """Returns if the text reads back to what it was made from.

    Raises:
        ConnectorError: It does not; that is a mistake of ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pulled.py"
        path.write_text(text, encoding="utf-8")
        read = load_collection(f"{path}:{class_name(spec.name)}")
    if _comparable(read) != _comparable(spec):
        raise ConnectorError(
            f"the text for `{spec.name}` does not read back to what it was made from", hint="report this, with the collection"
        )


def _comparable(spec: CollectionSpec) -> Any:
    """What the text says, lineage aside; an array's untold length is what a declaration takes without one."""
    normalised = spec.normalised()
    fields = [one for one in normalised["fields"] if not (spec.lineage and one["name"] in LINEAGE)]
    untold = [{"max_length": 65_535, **one} if one.get("element") == "VARCHAR" else one for one in fields]
    heads = [(one.encoder, one.layer, one.pooling, one.normalize, one.truncate_dim, one.options) for one in spec.vectors]
    return {**normalised, "fields": untold}, heads
