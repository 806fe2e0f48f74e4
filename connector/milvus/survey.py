"""Reads a collection that somebody made into a declaration, as far as the server tells and a declaration can say it.

Nothing is left out in silence: what cannot be declared comes back as a note with the field that it is about. Milvus Lite tells neither
index parameters nor consistency, shards, descriptions and the length of array elements; where it does not tell, a comparison takes the
declared value for the live one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from pydantic import ValidationError

from connector.errors import SchemaError, explain
from connector.milvus.changes import live_index_list
from connector.milvus.client import Connection
from connector.milvus.describe import KINDS
from connector.plan.stamp import OWN, TTL, Stamp, compare
from connector.schema import indexes as declared
from connector.schema.indexes import METRICS, OTHER, OTHER_SCALAR, UNINDEXED, ScalarIndex, VectorIndex
from connector.schema.reader import unwritable
from connector.schema.spec import CollectionSpec, Consistency, FieldSpec, VectorFieldSpec

_SAID = {"max_length", "max_capacity", "dim", "enable_analyzer", "analyzer_params"}
_KNOWN = {"metric", "type", "name"}
_NAMED = {OTHER, OTHER_SCALAR, UNINDEXED}
_CLASSES: dict[str, Any] = {
    {"TRIE": "Trie"}.get(name, name): kind
    for name, kind in vars(declared).items()
    if isinstance(kind, type) and issubclass(kind, VectorIndex | ScalarIndex) and name.isupper() and kind not in _NAMED
}

Note = tuple[str, str]
"""The field, or "" for the collection; and what of it cannot be declared."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A collection as it is.

    Attributes:
        collection: Its physical name.
        spec: The declaration, without lineage; named as it was asked for.
        notes: What a declaration cannot say.
        aliases: That point to it.
        told: Whether the server tells index parameters, consistency and shards.
        properties: All of them, the connector's own too.
    """

    collection: str
    spec: CollectionSpec
    notes: tuple[Note, ...]
    aliases: tuple[str, ...]
    told: bool
    properties: Mapping[str, str]

    def differences(self, code: CollectionSpec) -> tuple[str, ...]:
        """How the collection differs from a declaration of it, a sentence each; what the server does not tell is taken as equal."""
        want = code.normalised()
        return compare(Stamp("", None, self._as_told(want), {}), want, {})

    def _as_told(self, want: Mapping[str, Any]) -> dict[str, Any]:
        live = {**self.spec.normalised(), "name": want["name"]}
        lengths = {one["name"]: one.get("max_length") for one in want["fields"]}
        live["fields"] = [_with_length(one, lengths.get(one["name"])) for one in live["fields"]]
        vectors = {one["name"] for one in want["vectors"]}
        live["indexes"] = {
            name: one if self.told else {**want["indexes"].get(name, {}), "type": one["type"]}
            for name, one in live["indexes"].items()
            if name in want["indexes"] or name in vectors
        }
        live["properties"] = {key: value for key, value in live["properties"].items() if key in {*want["properties"], TTL}}
        kept = [] if self.told else ["consistency", "shards", "partitions"]
        return {**live, **{key: want[key] for key in kept if key in want}}


def _with_length(field: Mapping[str, Any], length: int | None) -> dict[str, Any]:
    """Milvus Lite does not tell the length of an array's elements."""
    untold = field["type"] == "ARRAY" and field.get("element") == "VARCHAR" and field.get("max_length") is None
    return {**field, "max_length": length} if untold and length is not None else dict(field)


def survey(connection: Connection, collection: str, name: str) -> Survey:
    """What there is.

    Args:
        connection: Open.
        collection: Physical name.
        name: What the declaration is called: that name, or an alias.

    Raises:
        SchemaError: It cannot be declared at all: no primary key or no vector is left of it.
    """
    client, told = connection.client, not connection.server.lite
    description = connection.call(f"describe {collection}", client.describe_collection, collection)
    database = connection.settings.database
    aliases = connection.call(f"list aliases of {collection}", client.list_aliases, collection, db_name=database)["aliases"]
    reading = _Reading(description, live_index_list(connection, collection), told=told)
    partitions = connection.call(f"list partitions of {collection}", client.list_partitions, collection)
    spec = reading.spec(name, partitions)
    properties = {key: str(value) for key, value in (description.get("properties") or {}).items()}
    return Survey(collection, spec, tuple(reading.notes), tuple(sorted(aliases)), told, properties)


class _Reading:
    """Turns one description into a declaration, and notes on the way what it cannot say."""

    def __init__(self, description: Mapping[str, Any], indexes: Sequence[tuple[str, dict[str, Any]]], *, told: bool) -> None:
        self.notes: list[Note] = []
        self._described = description
        self._told = told
        self._computed = dict(self._functions())
        self._indexes: dict[str, dict[str, Any]] = {}
        for field, index in indexes:
            if field in self._indexes:
                self._note(field, f"a second index, {index['type']} {_parameters(index)}")
            self._indexes.setdefault(field, index)

    def _note(self, field: str, what: str) -> None:
        self.notes.append((field, what))

    def _functions(self) -> Iterator[tuple[str, str]]:
        """(vector field, text column) of each vector that the server computes as BM25."""
        for one in self._described.get("functions") or ():
            kind = getattr(one["type"], "name", str(one["type"]))
            if kind == "BM25":
                yield one["output_field_names"][0], one["input_field_names"][0]
            else:
                self._note("", f"the function {one['name']} of type {kind}")

    def spec(self, name: str, partitions: Sequence[str]) -> CollectionSpec:
        """The declaration."""
        described = self._described
        pairs = [self._field(one) for one in described["fields"]]
        fields = tuple(one for one in pairs if isinstance(one, FieldSpec))
        vectors = tuple(one for one in pairs if isinstance(one, VectorFieldSpec))
        if not any(one.primary_key for one in fields) or not vectors:
            raise SchemaError(
                f"`{name}` has no primary key, or no vector, that can be declared", hint="; ".join(map(": ".join, self.notes))
            )
        keyed = any(one.partition_key for one in fields)
        if not keyed and (named := [one for one in partitions if one != "_default"]):
            self._note("", f"the partitions {', '.join(sorted(named))}; rows are read from all of them")
        spec = CollectionSpec(
            name=name,
            description=str(described.get("description") or "").strip(),
            fields=fields,
            vectors=vectors,
            dynamic=bool(described.get("enable_dynamic_field")),
            shards=int(described.get("num_shards") or 1),
            partitions=(described.get("num_partitions") or None) if keyed and self._told else None,
            consistency=self._consistency(),
            properties={key: str(value) for key, value in (described.get("properties") or {}).items() if not key.startswith(OWN)},
            lineage=False,
        )
        for field in sorted(set(self._indexes) - {one.name for one in spec.members}):
            self._note(field, f"an index of {self._indexes[field]['type']}")
        return spec

    def _consistency(self) -> Consistency:
        level = self._described.get("consistency_level_name")
        for one in get_args(Consistency):
            if level == one:
                known: Consistency = one
                return known
        self._note("", f"the consistency level {level}")
        return "Bounded"

    def _field(self, field: Mapping[str, Any]) -> FieldSpec | VectorFieldSpec | None:
        from pymilvus import DataType

        name, params = field["name"], field.get("params") or {}
        try:
            kind = DataType(field["type"]).name
        except ValueError:
            kind = str(field["type"])
        for key in sorted(set(params) - _SAID):
            self._note(name, f"{key} = {params[key]}")
        if field.get("is_clustering_key"):
            self._note(name, "clustering key")
        if params.get("enable_analyzer") and name not in self._computed.values():
            self._note(name, "an analyzer that no BM25 uses")
        if unwritable(name):
            self._note(name, "the field itself: no class can have a column of this name")
            return None
        try:
            return self._vector(field, KINDS[kind], params) if kind in KINDS else self._scalar(field, kind, params)
        except ValidationError as error:
            self._note(name, f"the field itself, of type {kind}: {explain(error)}")
            return None

    def _scalar(self, field: Mapping[str, Any], kind: str, params: Mapping[str, Any]) -> FieldSpec:
        from pymilvus import DataType

        element, length = field.get("element_type"), params.get("max_length")
        return FieldSpec(
            name=field["name"],
            type=kind,  # type: ignore[arg-type]  # checked by the model
            primary_key=bool(field.get("is_primary")),
            auto_id=bool(field.get("auto_id")),
            partition_key=bool(field.get("is_partition_key")),
            nullable=bool(field.get("nullable")),
            default=self._default(field),
            max_length=None if length is None else int(length),
            element=DataType(element).name if element else None,
            max_capacity=None if params.get("max_capacity") is None else int(params["max_capacity"]),
            index=self._scalar_index(field["name"], kind),
            description=str(field.get("description") or ""),
        )

    def _default(self, field: Mapping[str, Any]) -> Any:
        value = field.get("default_value")
        slot = value.WhichOneof("data") if value is not None else None
        found = getattr(value, slot) if slot else None
        if isinstance(found, bytes):
            self._note(field["name"], f"the default {found!r}")
            return None
        return float(str(np.float32(found))) if slot == "float_data" else found  # as short as it was written

    def _scalar_index(self, field: str, kind: str) -> ScalarIndex | None:
        if field not in self._indexes:
            return None
        index = self._indexes[field]
        if not index["type"]:
            self._note(field, "an index that the server has not named")
            return None
        made = _made(index, told=self._told)
        if isinstance(made, ScalarIndex) and kind in made.scalars:
            return made
        return OTHER_SCALAR(name=index["type"], parameters=_plain(_parameters(index)))

    def _vector(self, field: Mapping[str, Any], kind: Any, params: Mapping[str, Any]) -> VectorFieldSpec:
        name, index = field["name"], self._indexes.get(field["name"])
        metric = index["metric"] if index else None
        computed = name in self._computed
        if metric is not None and metric not in METRICS[kind]:
            self._note(name, f"the metric {metric}")
            metric = None
        analyzer = self._analyzer(self._computed[name]) if computed else None
        return VectorFieldSpec(
            name=name,
            dtype=kind,
            dim=None if params.get("dim") is None else int(params["dim"]),
            metric="BM25" if computed else metric or METRICS[kind][0],
            index=self._vector_index(index, kind),
            source=self._computed.get(name),
            nullable=bool(field.get("nullable")),
            analyzer=analyzer,
            description=str(field.get("description") or ""),
        )

    def _analyzer(self, column: str) -> dict[str, Any]:
        params = [one.get("params") or {} for one in self._described["fields"] if one["name"] == column]
        text = params[0].get("analyzer_params") if params else None
        found: dict[str, Any] = (json.loads(text) if isinstance(text, str) else text) or {}
        return found

    def _vector_index(self, index: Mapping[str, Any] | None, kind: Any) -> VectorIndex:
        if index is None or not index["type"]:
            return UNINDEXED()
        made = _made(index, told=self._told)
        fits = isinstance(made, VectorIndex) and kind in made.kinds
        return made if fits else OTHER(name=index["type"], parameters=_plain(_parameters(index)))


def _parameters(index: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in index.items() if key not in _KNOWN}


def _made(index: Mapping[str, Any], *, told: bool) -> Any:
    """The index as its class says it; None if there is no class, or its parameters are not exactly these."""
    kind, given = _CLASSES.get(index["type"]), _plain(_parameters(index))
    if kind is None:
        return None
    try:
        made = kind(**given)
    except SchemaError:
        return None
    return made if made.params == given or not (told or given) else None


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Servers tell numbers as text."""
    return {key: _number(value) for key, value in params.items()}


def _number(text: Any) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        return text
    return value if isinstance(value, int | float) else text
