"""Turns a query into one vector for each field that is searched, by the encoders that wrote the vectors there, or not at all.

An encoder is the code's if its identity equals the stamped one, else the one that the stamp's words lead to, if its identity does, since
vectors of two models cannot be compared. Fields that share an encoder share the forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector.commands.retrieval.live import Live, LiveField
from connector.encoding.binding import make_encoder, modality_of_field
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens, Probed
from connector.encoding.queries import Key, Query, modality_of
from connector.errors import ConfigError, PlanNeeded, RowError
from connector.interfaces import DeviceSpec, Encoder, Head, identity
from connector.schema.tenants import Tenant

if TYPE_CHECKING:
    from connector.commands.building import Parts
    from connector.milvus.sink import MilvusSink


@dataclass(frozen=True, slots=True)
class _Share:
    """What one field takes from which encoder, and where that computes."""

    place: int
    field: Probed
    encoder: Encoder
    device: DeviceSpec


def encoded(parts: Parts, live: Live, query: Query) -> list[Any]:
    """What each field is searched for; texts for fields whose vectors the server computes.

    Raises:
        ConfigError: A field takes no such query; it is named.
        PlanNeeded: The encoder that wrote a field's vectors cannot be found.
    """
    asked: list[Any] = [query] * len(live.fields)
    shares: dict[tuple[int, DeviceSpec], list[_Share]] = {}
    made: dict[str, Encoder] = {}
    for place, field in enumerate(live.fields):
        if _takes(field, query):
            share = _share(parts, field, query, place, made)
            shares.setdefault((id(share.encoder), share.device), []).append(share)
    for some in shares.values():
        first, *rest = some
        goldens, further = Goldens.from_json(live.probe), [one.field for one in rest]
        with EncoderHandle(first.encoder, first.field.head, first.device, goldens=goldens, field=first.field, further=further) as handle:
            try:
                found = handle.encode_fields([query], role="query")
            except RowError as error:
                raise ConfigError(f"cannot search for {query!r}: {error.message}", hint=error.hint or "give another query") from None
        for share, vectors in zip(some, found, strict=True):
            asked[share.place] = vectors[0]
    return asked


def alike(sink: MilvusSink, live: Live, query: Key, tenant: Tenant | None, *, named: bool) -> list[Any]:
    """The row's own vectors, one a field; None where it has none and the field was not named. Another tenant's row is no row.

    Raises:
        ConfigError: There is no such row, or it lacks a vector that was asked for.
    """
    value = query.value
    if live.spec.primary.type == "INT64" and isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)  # the command line has only strings
    columns = [_column(one) for one in live.fields]
    row = sink.read([value], [*columns, *([tenant.field.name] if tenant else [])]).get(value)
    if row is None or (tenant and row[tenant.field.name] != tenant.value):
        raise ConfigError(f"no row has the key {query.value!r}", hint="check the key")
    lacking = [one.spec.name for one in live.fields if row[_column(one)] is None]
    if lacking and (named or len(lacking) == len(live.fields)):
        raise ConfigError(f"the row {query.value!r} has no vector in `{lacking[0]}`", hint="search by another row or field")
    return [row[one] for one in columns]


def _column(field: LiveField) -> str:
    """Where a row has what it can be searched by: a vector that the server computes cannot be read, its text finds the same rows."""
    return str(field.spec.source) if field.spec.computed else field.spec.name


def _takes(field: LiveField, query: Query) -> bool:
    """Whether a field's query has to be encoded; refuses one that it does not take."""
    name = field.spec.name
    if field.spec.computed:
        if not isinstance(query, str):
            raise ConfigError(f"{name} is searched by text, not by {_modality(query)}", hint="give words, or --like KEY")
        return False
    if field.identity is None:
        raise ConfigError(f"{name} holds ready-made vectors: no query can be encoded for it", hint="search by --like KEY")
    return True


def _share(parts: Parts, field: LiveField, query: Query, place: int, made: dict[str, Encoder]) -> _Share:
    name = field.spec.name
    encoder, head = _encoder(parts, field, field.identity or {}, made)
    if encoder.spec(head).kind == "ragged":
        problem = f"{name} holds one vector a position: a query has several, and only one can be searched for"
        raise ConfigError(problem, hint="search by --like KEY, or keep a pooled vector in another field")
    if _modality(query) not in encoder.inputs:
        problem = f"{name} is searched by {' or '.join(sorted(encoder.inputs))}, not by {_modality(query)}"
        raise ConfigError(problem, hint="give words for text, --image FILE for pictures, --audio FILE for recordings, or --like KEY")
    probed = Probed(name, head, modality_of_field(field.spec, encoder, name))
    return _Share(place, probed, encoder, parts.job.encode.get(name, DeviceSpec()))


def _modality(query: Query) -> str:
    """Words are text; the rest says what it is."""
    return modality_of(query, frozenset({"text", ""}))


def _encoder(parts: Parts, field: LiveField, stamped: Mapping[str, Any], made: dict[str, Encoder]) -> tuple[Encoder, Head]:
    """The encoder that wrote the field's vectors, with what is taken from it; `made` holds those of the stamp's words.

    Raises:
        PlanNeeded: Neither the code nor the stamp's words lead to it; says how the nearest one differs.
    """
    name, found = field.spec.name, "the code names none"
    binding = next((one for one in parts.bindings if one.field.name == name), None)
    if binding is not None:
        found = _difference(stamped, parts.want.identity[name])
        if not found:
            return binding.encoder, binding.head
    if field.words:
        try:
            words = json.dumps(field.words, sort_keys=True)
            encoder = made.get(words) or make_encoder(field.spec.model_copy(update=dict(field.words)))
            made[words] = encoder
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
