"""Searches with the encoder that wrote the vectors, or not at all.

The alias is resolved once and the physical collection is searched: a search through a moving alias can mix two collections
(milvus #52351). The code's encoder identity must equal the one stamped into that collection, since vectors of two models cannot be
compared.
"""

from __future__ import annotations

from typing import Any

from connector.binding import Binding, probed
from connector.building import Parts
from connector.encoding import EncoderHandle
from connector.errors import ConfigError, PlanNeeded, RowError, nearest
from connector.interfaces import DeviceSpec
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.search import Hit, search
from connector.milvus.sink import MilvusSink
from connector.probing import Goldens
from connector.queries import Key, Query, modality_of
from connector.schema.spec import VectorFieldSpec


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
    vector_field = _field(parts, field, query)
    with connect(job.milvus) as connection:
        catalog = Catalog(connection)
        live = catalog.have(parts.spec.name).live
        if live is None or live.stamp is None:
            raise ConfigError(
                f"there is no collection `{parts.spec.name}` made by connector here", hint="run the job first: connector run JOB"
            )
        _same_encoder(parts, vector_field, live.stamp.identity)
        catalog.load(live.name)
        if isinstance(query, Key):
            vector = _stored(MilvusSink(connection, live.name, parts.spec), query, parts, vector_field)
        else:
            vector = _encoded(parts, vector_field, query, Goldens.from_json(live.stamp.probe))
        columns = [column.name for column in parts.spec.columns]
        [hits] = search(
            connection, live.name, parts.spec, [vector], field=vector_field.name, limit=limit, filter=where, output_fields=columns
        )
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


def _same_encoder(parts: Parts, field: VectorFieldSpec, stamped: Any) -> None:
    code = parts.want.identity.get(field.name)
    live = stamped.get(field.name)
    if code is None or live is None:
        return
    different = [
        f"{part}.{key}: {live[part].get(key)!r} live, {code[part][key]!r} in code"
        for part in code
        for key in code[part]
        if live[part].get(key) != code[part][key]
    ]
    if different:
        raise PlanNeeded(
            f"{field.name}: the live vectors come from another encoder: {'; '.join(different)}",
            hint="search with the schema that filled it",
        )


def _stored(sink: MilvusSink, query: Key, parts: Parts, field: VectorFieldSpec) -> Any:
    value = query.value
    if parts.spec.primary.type == "INT64" and isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)  # the command line has only strings
    column = str(field.source) if field.computed else field.name  # such a vector cannot be read; its text finds the same rows
    row = sink.read([value], [column]).get(value)
    if row is None:
        raise ConfigError(f"no row has the key {query.value!r}", hint="check the key")
    if row[column] is None:
        raise ConfigError(f"the row {query.value!r} has no vector in `{field.name}`", hint="search by another row or field")
    return row[column]


def _encoded(parts: Parts, field: VectorFieldSpec, query: Query, goldens: Goldens) -> Any:
    if field.computed:
        if not isinstance(query, str):
            raise ConfigError(f"{field.name} is searched by text, not by {_modality(query)}", hint="give words, or --like KEY")
        return query
    binding: Binding | None = next((one for one in parts.bindings if one.field.name == field.name), None)
    if binding is None:
        raise ConfigError(f"{field.name} holds ready-made vectors: no query can be encoded for it", hint="search by --like KEY")
    if binding.ragged:
        problem = f"{field.name} holds one vector a position: a query has several, and only one can be searched for"
        raise ConfigError(problem, hint="search by --like KEY, or keep a pooled vector in another field")
    if _modality(query) not in binding.encoder.inputs:
        problem = f"{field.name} is searched by {' or '.join(sorted(binding.encoder.inputs))}, not by {_modality(query)}"
        raise ConfigError(problem, hint="give words for text, --image FILE for pictures, --audio FILE for recordings, or --like KEY")
    device = parts.job.encode.get(field.name, DeviceSpec())
    with EncoderHandle(binding.encoder, binding.head, device, goldens=goldens, field=probed(binding)) as encoder:
        try:
            return encoder.encode([query], role="query")[0]
        except RowError as error:
            raise ConfigError(f"cannot search for {query!r}: {error.message}", hint=error.hint or "give another query") from None
