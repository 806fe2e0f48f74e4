"""Takes vectors of a job's live generation at random: some to index, and others to search for, since a row finds itself too easily."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from connector.errors import ConfigError, PlanNeeded, nearest
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection
from connector.milvus.sink import MilvusSink
from connector.plan.generations import Generation
from connector.record import Key
from connector.schema.spec import CollectionSpec, VectorFieldSpec

_FEWEST, _SHARE = 20, 5
_SEED = 20_261_130


@dataclass(frozen=True, slots=True)
class Sample:
    """Live vectors.

    Attributes:
        live: The generation.
        field: The field as it is stored there, with the index that the code declares.
        live_rows: How many rows there are.
        rows: Vectors that are indexed.
        asked: Others, that are searched for.
    """

    live: str
    field: VectorFieldSpec
    live_rows: int
    rows: list[Any]
    asked: list[Any]


def field_of(spec: CollectionSpec, name: str | None) -> VectorFieldSpec:
    """The vector field of this name, or the only one whose vectors can be read.

    Raises:
        ConfigError: There is none, or several could be meant.
    """
    fields = {one.name: one for one in spec.sent}
    if name is None and len(fields) == 1:
        return next(iter(fields.values()))
    if any(one.name == name for one in spec.vectors if one.computed):
        raise ConfigError(f"{name} is computed by the server and cannot be read back, so there is nothing to measure", hint="")
    if name not in fields:
        said = "which vector field?" if name is None else f"no vector field `{name}`"
        raise ConfigError(f"{spec.name}: {said}", hint=f"--field {nearest(name or '', fields)}")
    return fields[name]


def sample_of(connection: Connection, spec: CollectionSpec, declared: VectorFieldSpec, rows: int, queries: int) -> Sample:
    """Vectors of the live generation at random, so many to index and so many others to search for, or as many as there are.

    Raises:
        PlanNeeded: There is no live generation, or it has no such field.
        ConfigError: It has too few vectors.
    """
    catalog = Catalog(connection)
    live = catalog.live(spec.name)
    if live is None or live.stamp is None:
        raise PlanNeeded(f"there is no live generation of `{spec.name}`, so there are no vectors to measure with", hint="connector run JOB")
    catalog.load(live.name)
    field = _stored(declared, live)
    there = spec.model_copy(update={"vectors": (field,)})
    sink, rng = MilvusSink(connection, live.name, there), random.Random(_SEED)  # noqa: S311 - the same sample again, no secret
    count, keys = 0, list[Key]()
    for count, row in enumerate(sink.scan(None, [spec.primary.name]), 1):  # every row is as likely as any other (Vitter's algorithm R)
        if len(keys) < rows + queries:
            keys.append(row[spec.primary.name])
        elif (place := rng.randrange(count)) < len(keys):
            keys[place] = row[spec.primary.name]
    rng.shuffle(keys)
    found = {key: row[field.name] for key, row in sink.read(keys, [field.name]).items()}
    vectors = [found[key] for key in keys if found.get(key) is not None]
    if len(vectors) < _FEWEST:
        raise ConfigError(f"{live.name}.{field.name} has {len(vectors)} vectors, too few to measure", hint=f"it takes {_FEWEST} at least")
    asked = min(queries, len(vectors) // _SHARE)
    return Sample(live.name, field.model_copy(update={"nullable": False}), count, vectors[asked : asked + rows], vectors[:asked])


def _stored(declared: VectorFieldSpec, live: Generation) -> VectorFieldSpec:
    """The field as the live generation stores it."""
    stamped = live.stamp.spec["vectors"] if live.stamp else []
    found = next((one for one in stamped if one["name"] == declared.name), None)
    if found is None:
        raise PlanNeeded(
            f"{live.name} has no vector field `{declared.name}`", hint=nearest(declared.name, (one["name"] for one in stamped))
        )
    return declared.model_copy(update={key: found[key] for key in ("dtype", "dim", "metric", "nullable")})
