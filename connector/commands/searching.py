"""Searches with the encoders that wrote the vectors, or not at all; the answers of several vector fields become one.

The alias is resolved once and the physical collection is searched: a search through a moving alias can mix two collections
(milvus #52351). The encoders are that collection's, so old and new code search on while the alias moves. A job that is bound to a tenant
sees that tenant's rows alone: by a condition that stands before whatever filter was given, and by looking at every hit again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from connector.commands.building import Parts
from connector.commands.retrieval.asking import alike, encoded
from connector.commands.retrieval.fusing import DEPTH, fuse
from connector.commands.retrieval.live import Live, live_of
from connector.commands.retrieval.options import Search
from connector.encoding.queries import Key, Query
from connector.errors import NotLoaded, PlanNeeded, Refused, Transient
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.filters import complete, within
from connector.milvus.literals import equals
from connector.milvus.search import Hit, search
from connector.milvus.sink import MilvusSink
from connector.retry import retry
from connector.schema.spec import VectorFieldSpec
from connector.schema.tenants import Tenant

_ALTERED = 60.0
"""Most seconds that a search waits for a collection that is being altered, or an alias that is being moved."""


def search_job(job: Job, query: Query, how: Search | None = None) -> list[Hit]:
    """Finds the rows nearest to a query.

    Args:
        job: Says where and with what, and for whom if it is bound to a tenant.
        query: Words, a `Key`, an `Image` or an `Audio`.
        how: Which fields, how many, and the rest.

    Raises:
        ConfigError: There is no such field or collection, a field takes no such query, or the filter is wrong.
        PlanNeeded: The collection was written by another encoder; the message names what differs.
        Refused: The filter reached rows of another tenant; none is returned.
    """
    how, parts = how or Search(), Parts.of(job)
    fields = how.chosen(parts, query)
    weights = how.weights_of(fields)
    own = equals(parts.tenant.field.name, parts.tenant.value) if parts.tenant is not None else ""
    condition = within(own, complete(how.filter, how.params))
    with connect(job.milvus) as connection:
        catalog = Catalog(connection)

        def attempt() -> list[Hit]:
            live = live_of(catalog, parts, fields)
            vectors = [] if isinstance(query, Key) else encoded(parts, live, query)
            try:
                catalog.load(live.name)
                if isinstance(query, Key):
                    sink = MilvusSink(connection, live.name, live.spec)
                    vectors = alike(sink, live, query, parts.tenant, named=bool(how.fields or weights))
                answers = _answers(connection, live, vectors, replace(how, filter=condition), parts.tenant)
            except (PlanNeeded, NotLoaded) as error:
                if catalog.live(parts.spec.name) is None:
                    raise
                raise Transient(error.message, hint="the collection was altered in this moment") from error
            return _shown(answers, weights, how, how.outputs(live.spec, live.columns))

        return retry(attempt, replace(job.milvus.policy, deadline=min(job.milvus.retry_deadline, _ALTERED)), f"search {parts.spec.name}")


Answers = list[tuple[VectorFieldSpec, list[Hit]]]


def _answers(connection: Connection, live: Live, vectors: Sequence[Any], how: Search, tenant: Tenant | None) -> Answers:
    """The hits of each field, of a collection that stayed loaded: one that is released in this moment answers with too few, or none."""
    needed = [*how.outputs(live.spec, live.columns), *([tenant.field.name] if tenant else []), *([how.group_by] if how.group_by else [])]
    limit = how.offset + how.limit
    answers: Answers = []
    for field, vector in zip(live.fields, vectors, strict=True):
        if vector is None:
            answers.append((field.spec, []))
            continue
        [hits] = search(
            connection,
            live.name,
            live.spec,
            [vector],
            field=field.spec.name,
            limit=limit if len(live.fields) == 1 else max(limit, DEPTH),
            filter=how.filter,
            output_fields=list(dict.fromkeys(needed)),
            group_by=how.group_by,
            consistency=how.consistency,
        )
        if tenant is not None and any(hit.fields[tenant.field.name] != tenant.value for hit in hits):
            raise Refused("the filter reached rows of another tenant; none is shown", hint="correct the filter")
        answers.append((field.spec, hits))
    if not Catalog(connection).loaded(live.name):
        raise NotLoaded(f"{live.name} was released while it was searched")
    return answers


def _shown(answers: Answers, weights: Sequence[float] | None, how: Search, output: Sequence[str]) -> list[Hit]:
    """The page that was asked for, with the fields that were."""
    [(field, hits), *rest] = answers
    if rest:
        hits = fuse(answers, weights)
    elif how.radius is not None:
        hits = [hit for hit in hits if field.within(hit.distance, how.radius)]
    if how.group_by is not None:
        best = {hit.fields[how.group_by]: hit for hit in reversed(hits)}
        hits = [hit for hit in hits if best[hit.fields[how.group_by]] is hit]
    return [replace(hit, fields={name: hit.fields[name] for name in output}) for hit in hits[how.offset : how.offset + how.limit]]
