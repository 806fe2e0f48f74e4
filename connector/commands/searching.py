"""Searches with the encoder that wrote the vectors, or not at all.

The alias is resolved once and the physical collection is searched: a search through a moving alias can mix two collections
(milvus #52351). The encoder is that collection's: the code's if its identity equals the stamped one, else the one that the stamp's words
lead to, if its identity does, since vectors of two models cannot be compared. So old and new code search on while the alias moves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from connector.commands.building import Parts
from connector.encoding.binding import make_encoder, modality_of_field
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens, Probed
from connector.encoding.queries import Key, Query, modality_of
from connector.errors import ConfigError, NotLoaded, PlanNeeded, RowError, Transient, nearest
from connector.interfaces import DeviceSpec, Encoder, Head, identity
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.search import Hit, search
from connector.milvus.sink import MilvusSink
from connector.plan.stamp import ENCODERS
from connector.retry import retry
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec

_ALTERED = 60.0
"""Most seconds that a search waits for a collection that is being altered, or an alias that is being moved."""


def search_job(job: Job, query: Query, *, field: str | None = None, limit: int = 10, where: str = "") -> list[Hit]:
    """Finds the rows nearest to a query.

    Args:
        job: Says where and with what.
        query: Words, a `Key` or an `Image`.
        field: The vector field; needed only when there are several that could be meant.
        limit: Most hits.
        where: A Milvus filter expression over scalar fields; "" for none.

    Raises:
        ConfigError: There is no such field or collection, or its encoder does not read such a query.
        PlanNeeded: The collection was written by another encoder; the message names what differs.
    """
    parts = Parts.of(job)
    name = _field(parts, field, query).name
    with connect(job.milvus) as connection:
        catalog = Catalog(connection)

        def attempt() -> list[Hit]:
            live = _live(catalog, parts, name)
            vector = None if isinstance(query, Key) else _encoded(parts, live, query)
            try:
                return _found(connection, live, query if vector is None else vector, limit=limit, where=where)
            except (PlanNeeded, NotLoaded) as error:
                if catalog.live(parts.spec.name) is None:
                    raise
                raise Transient(error.message, hint="the collection was altered in this moment") from error

        return retry(attempt, replace(job.milvus.policy, deadline=min(job.milvus.retry_deadline, _ALTERED)), f"search {parts.spec.name}")


@dataclass(frozen=True, slots=True)
class _Live:
    """The generation that is searched.

    Attributes:
        name: Physical name.
        spec: What it was made with, as far as a search needs it.
        field: The vector field, as it is there.
        identity: Its encoder's, as stamped; None for ready-made vectors.
        probe: What the stamp knows of the encoders.
        words: The encoder in the words of the schema that filled it.
        columns: The code's columns that it has.
    """

    name: str
    spec: CollectionSpec
    field: VectorFieldSpec
    identity: Mapping[str, Any] | None
    probe: Mapping[str, Any] | None
    words: Mapping[str, Any]
    columns: tuple[str, ...]


def _live(catalog: Catalog, parts: Parts, field: str) -> _Live:
    """The generation behind the alias now."""
    live = catalog.live(parts.spec.name)
    if live is None or live.stamp is None:
        said = f"there is no collection `{parts.spec.name}` made by connector here"
        raise ConfigError(said, hint="run the job first: connector run JOB")
    stamped = live.stamp.spec
    vectors = {one["name"]: one for one in stamped["vectors"]}
    if field not in vectors:
        raise PlanNeeded(f"{live.name} has no vector field `{field}`", hint=nearest(field, vectors))
    code = next(one for one in parts.spec.vectors if one.name == field)
    there = code.model_copy(update={key: vectors[field][key] for key in ("dtype", "dim", "metric", "nullable")})
    fields = tuple(FieldSpec.model_validate(one) for one in stamped["fields"])
    names = {one.name for one in fields}
    return _Live(
        name=live.name,
        spec=parts.spec.model_copy(update={"fields": fields, "vectors": (there,)}),
        field=there,
        identity=live.stamp.identity.get(field),
        probe=live.stamp.probe,
        words=json.loads(live.properties.get(ENCODERS, "{}")).get(field, {}),
        columns=tuple(one.name for one in parts.spec.columns if one.name in names),
    )


def _found(connection: Connection, live: _Live, query: Any, *, limit: int, where: str) -> list[Hit]:
    """The answer of a collection that stayed loaded: one that is released or dropped in this moment answers with too few hits, or none."""
    catalog = Catalog(connection)
    catalog.load(live.name)
    vector = _stored(MilvusSink(connection, live.name, live.spec), query, live) if isinstance(query, Key) else query
    [hits] = search(
        connection, live.name, live.spec, [vector], field=live.field.name, limit=limit, filter=where, output_fields=live.columns
    )
    if not catalog.loaded(live.name):
        raise NotLoaded(f"{live.name} was released while it was searched")
    return hits


def _modality(query: Query) -> str:
    """Words are text; the rest says what it is."""
    return modality_of(query, frozenset({"text", ""}))


def _field(parts: Parts, name: str | None, query: Query) -> VectorFieldSpec:
    """The field of this name; without a name the only one, or the only one whose encoder reads such a query."""
    fields = {field.name: field for field in parts.spec.vectors}
    able = [] if isinstance(query, Key) else [one.field for one in parts.bindings if _modality(query) in one.encoder.inputs]
    able += [one for one in parts.spec.vectors if one.computed and isinstance(query, str)]
    for meant in (list(fields.values()), able):
        if name is None and len(meant) == 1:
            return meant[0]
    if name not in fields:
        said = "which vector field?" if name is None else f"no vector field `{name}`"
        raise ConfigError(f"{parts.spec.name}: {said}", hint=nearest(name or "", fields))
    return fields[name]


def _stored(sink: MilvusSink, query: Key, live: _Live) -> Any:
    value = query.value
    if live.spec.primary.type == "INT64" and isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)  # the command line has only strings
    field = live.field
    column = str(field.source) if field.computed else field.name  # such a vector cannot be read; its text finds the same rows
    row = sink.read([value], [column]).get(value)
    if row is None:
        raise ConfigError(f"no row has the key {query.value!r}", hint="check the key")
    if row[column] is None:
        raise ConfigError(f"the row {query.value!r} has no vector in `{field.name}`", hint="search by another row or field")
    return row[column]


def _encoded(parts: Parts, live: _Live, query: Query) -> Any:
    field = live.field
    if field.computed:
        if not isinstance(query, str):
            raise ConfigError(f"{field.name} is searched by text, not by {_modality(query)}", hint="give words, or --like KEY")
        return query
    if live.identity is None:
        raise ConfigError(f"{field.name} holds ready-made vectors: no query can be encoded for it", hint="search by --like KEY")
    encoder, head = _encoder(parts, live, live.identity)
    if encoder.spec(head).kind == "ragged":
        problem = f"{field.name} holds one vector a position: a query has several, and only one can be searched for"
        raise ConfigError(problem, hint="search by --like KEY, or keep a pooled vector in another field")
    if _modality(query) not in encoder.inputs:
        problem = f"{field.name} is searched by {' or '.join(sorted(encoder.inputs))}, not by {_modality(query)}"
        raise ConfigError(problem, hint="give words for text, --image FILE for pictures, --audio FILE for recordings, or --like KEY")
    device, probe = parts.job.encode.get(field.name, DeviceSpec()), Probed(field.name, head, modality_of_field(field, encoder, field.name))
    with EncoderHandle(encoder, head, device, goldens=Goldens.from_json(live.probe), field=probe) as handle:
        try:
            return handle.encode([query], role="query")[0]
        except RowError as error:
            raise ConfigError(f"cannot search for {query!r}: {error.message}", hint=error.hint or "give another query") from None


def _encoder(parts: Parts, live: _Live, stamped: Mapping[str, Any]) -> tuple[Encoder, Head]:
    """The encoder that wrote the field's vectors, with what is taken from it.

    Raises:
        PlanNeeded: Neither the code nor the stamp's words lead to it; says how the nearest one differs.
    """
    name, found = live.field.name, "the code names none"
    binding = next((one for one in parts.bindings if one.field.name == name), None)
    if binding is not None:
        found = _difference(stamped, parts.want.identity[name])
        if not found:
            return binding.encoder, binding.head
    if live.words:
        try:
            encoder = make_encoder(live.field.model_copy(update=dict(live.words)))
            head = encoder.resolve(Head(**stamped["head"]))
            if not _difference(stamped, identity(encoder, head)):
                return encoder, head
        except ConfigError as error:
            found = f"{found}; {error.message}"
    raise PlanNeeded(f"{name}: the live vectors come from another encoder: {found}", hint="search with the schema that filled it")


def _difference(stamped: Mapping[str, Any], code: Mapping[str, Any]) -> str:
    """How an encoder differs from the one that is stamped; "" if it is the same."""
    plain = json.loads(json.dumps(code))
    return "; ".join(
        f"{part}.{key}: {stamped[part].get(key)!r} live, {plain[part][key]!r} in code"
        for part in plain
        for key in plain[part]
        if stamped[part].get(key) != plain[part][key]
    )
