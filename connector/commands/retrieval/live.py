"""The generation that is searched, as its stamp describes it: read once for a search, so that an alias may move meanwhile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigError, PlanNeeded, nearest
from connector.plan.stamp import ENCODERS
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec

if TYPE_CHECKING:
    from connector.commands.building import Parts
    from connector.milvus.catalog import Catalog


@dataclass(frozen=True, slots=True)
class LiveField:
    """A vector field that is searched.

    Attributes:
        spec: As it is there.
        identity: Its encoder's, as stamped; None for vectors that were ready-made, or that the server computes.
        words: The encoder in the words of the schema that filled it.
    """

    spec: VectorFieldSpec
    identity: Mapping[str, Any] | None
    words: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """The generation.

    Attributes:
        name: Physical name.
        spec: What it was made with, as far as a search needs it.
        fields: The vector fields that are searched.
        probe: What the stamp knows of the encoders.
        columns: The code's columns that it has.
    """

    name: str
    spec: CollectionSpec
    fields: tuple[LiveField, ...]
    probe: Mapping[str, Any] | None
    columns: tuple[str, ...]


def live_of(catalog: Catalog, parts: Parts, fields: Sequence[VectorFieldSpec]) -> Live:
    """The generation behind the alias now.

    Args:
        catalog: Of the database.
        parts: The job.
        fields: Of the code, those that are searched.

    Raises:
        ConfigError: There is none.
        PlanNeeded: It has no such vector field.
    """
    live = catalog.live(parts.spec.name)
    if live is None or live.stamp is None:
        said = f"there is no collection `{parts.spec.name}` made by connector here"
        raise ConfigError(said, hint="run the job first: connector run JOB")
    stamped = live.stamp.spec
    vectors = {one["name"]: one for one in stamped["vectors"]}
    for field in fields:
        if field.name not in vectors:
            raise PlanNeeded(f"{live.name} has no vector field `{field.name}`", hint=nearest(field.name, vectors))
    there = tuple(_there(one, vectors[one.name]) for one in parts.spec.vectors if one.name in vectors)
    scalars = tuple(FieldSpec.model_validate(one) for one in stamped["fields"])
    words, known = json.loads(live.properties.get(ENCODERS, "{}")), {one.name: one for one in there}
    names = {one.name for one in scalars}
    return Live(
        name=live.name,
        spec=parts.spec.model_copy(update={"fields": scalars, "vectors": there}),
        fields=tuple(LiveField(known[one.name], live.stamp.identity.get(one.name), words.get(one.name, {})) for one in fields),
        probe=live.stamp.probe,
        columns=tuple(one.name for one in parts.spec.columns if one.name in names),
    )


def _there(field: VectorFieldSpec, stamped: Mapping[str, Any]) -> VectorFieldSpec:
    return field.model_copy(update={key: stamped[key] for key in ("dtype", "dim", "metric", "nullable")})
