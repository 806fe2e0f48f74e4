"""Binds vector fields to encoders, and refuses what does not fit before anything is encoded or written.

Fields that name the same encoder with the same options share one object, therefore one set of weights and one forward pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from connector import registry
from connector.encoding.probing import Probed
from connector.errors import ConfigError, SchemaError, nearest
from connector.interfaces import Encoder, Head, VectorSpec
from connector.schema.spec import CollectionSpec, VectorFieldSpec


@dataclass(frozen=True, slots=True)
class Binding:
    """One vector field and what fills it.

    Attributes:
        field: The field.
        encoder: Its encoder.
        head: What the field takes from it, with the model's defaults filled in.
        spec: What the head gives; asked once, since an encoder may have to look it up.
        source: The row's field that is encoded.
        modality: What is in it: text, image or audio.
    """

    field: VectorFieldSpec
    encoder: Encoder
    head: Head
    spec: VectorSpec
    source: str
    modality: str

    @property
    def ragged(self) -> bool:
        """Whether the encoder gives one vector a position, so that rows are fanned out."""
        return self.spec.kind == "ragged"


def probed(binding: Binding) -> Probed:
    """The field as the golden probe sees it."""
    return Probed(binding.field.name, binding.head, binding.modality)


def head_of(field: VectorFieldSpec) -> Head:
    """The head that a field asks for, before the model's defaults."""
    return Head(field.layer, field.pooling, field.normalize, field.truncate_dim, field.dtype)


def make_encoder(field: VectorFieldSpec) -> Encoder:
    """Builds the encoder that a field names as `kind:model`; the rest after the colon is the kind's own to read.

    Raises:
        ConfigError: The reference is no `kind:model`, there is no such kind, or the encoder refuses its options.
    """
    kind, colon, model = (field.encoder or "").partition(":")
    if not colon or not kind or not model:
        hint = f"kinds: {', '.join(registry.names('encoders'))}"
        raise ConfigError(f"{field.name}: encoder `{field.encoder}` is not `kind:model`", hint=hint)
    if "model" in field.options:
        raise ConfigError(f"{field.name}: the option `model` stands in the encoder's name already", hint="remove the option")
    encoder: Encoder = registry.create("encoders", kind, {"model": model, **field.options}, where=f"encoder of {field.name}")
    return encoder


def bind(spec: CollectionSpec, make: Callable[[VectorFieldSpec], Encoder] = make_encoder, *, where: str = "") -> list[Binding]:
    """The bindings of a collection's encoded fields, in declared order. Fields with ready-made vectors are left out.

    Args:
        spec: The collection.
        make: Builds an encoder; called once for all fields with the same reference and options.
        where: File and class, for messages; default: as the specification says.

    Raises:
        SchemaError: An encoder gives another dimension or kind of vector than the field declares.
        ConfigError: An encoder cannot be built, or has no such head.
    """
    encoders: dict[str, Encoder] = {}
    bindings = []
    for field in spec.vectors:
        if field.encoder is None:
            continue
        reference = json.dumps([field.encoder, field.options], sort_keys=True, default=repr)
        if reference not in encoders:
            encoders[reference] = make(field)
        encoder = encoders[reference]
        if field.truncate_dim is None and hasattr(encoder, "declared"):
            encoder.declared(field.dim)
        head = encoder.resolve(head_of(field))
        name = f"{where or spec.where or spec.name}.{field.name}"
        given = encoder.spec(head)
        _check(field, encoder, given, name)
        modality = modality_of_field(field, encoder, name)
        bindings.append(Binding(field, encoder, head, given, field.source or modality, modality))
    return bindings


def modality_of_field(field: VectorFieldSpec, encoder: Encoder, name: str) -> str:
    """What a field's source holds: as declared, or what the encoder reads, or, of several, the one that the names speak of."""
    valid = sorted(encoder.inputs)
    if field.modality is not None and field.modality not in valid:
        raise SchemaError(f"{name}: encoder {field.encoder} does not read {field.modality}", hint=nearest(field.modality, valid))
    spoken = [one for one in valid if one in (field.source or field.name).lower()]
    for meant in ([field.modality] if field.modality else [], valid, spoken):
        if len(meant) == 1:
            return meant[0]
    said = f"encoder {field.encoder} reads {' and '.join(valid)}"
    raise SchemaError(f"{name}: {said}, and nothing says which this field holds", hint=f'write modality="{valid[0]}", or "{valid[-1]}"')


def _check(field: VectorFieldSpec, encoder: Encoder, given: VectorSpec, name: str) -> None:
    wanted = "sparse" if field.dtype == "sparse" else "dense"
    if given.kind == "ragged" and not hasattr(encoder, "positions"):
        problem = f"{name}: encoder {field.encoder} cannot tell how many vectors an input gets, so its rows cannot be numbered"
        raise SchemaError(problem, hint="set pooling, such as mean")
    if given.kind not in {wanted, "ragged"}:
        problem = f"{name} wants {wanted} vectors, encoder {field.encoder} gives {given.kind} ones"
        raise SchemaError(problem, hint="correct dtype or encoder")
    if given.dim != field.dim:
        raise SchemaError(f"{name} wants dim {field.dim}, encoder {field.encoder} gives {given.dim}.", hint=f"set dim={given.dim}")
