"""Names what a network gives inside, and how long a vector of it is, without torch: layers, their shapes, and the poolings that suit them.

A layer gives a vector, or one vector a position: a map (channels, height, width), or tokens. What a head writes is brought into one form
first, because a filled head is part of an identity: `avg` is `mean`, `gem` is `gem:3`, and a layer has one name however it is spelled.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from connector.encoders.heads import RAGGED, Offer
from connector.errors import ConfigError, nearest
from connector.interfaces import Head, VectorSpec

MODEL, FLATTEN, GEM, CLS = "model", "flatten", "gem", "cls"
"""The network's own vector as it is; all numbers of a map in torch's order; the generalised mean, `gem:p`; the class token."""

MANY = 60
"""From so many layers on, an error names the near ones instead of all."""


@dataclass(frozen=True, slots=True)
class Tap:
    """What one layer gives for one input.

    Attributes:
        shape: (dim,), (tokens, dim), (channels, height, width) or, with `last`, (height, width, channels).
        prefix: How many tokens stand before those of the positions: class and register tokens.
        cls: Whether the first token speaks for the whole input.
        last: Whether the channels come last.
    """

    shape: tuple[int, ...]
    prefix: int = 0
    cls: bool = False
    last: bool = False

    @property
    def channels(self) -> int:
        """Numbers of one position's vector."""
        return self.shape[-1] if self.last or len(self.shape) <= 2 else self.shape[0]  # noqa: PLR2004 - tokens have their numbers last

    @property
    def poolings(self) -> tuple[str, ...]:
        """Valid poolings, the default first."""
        if len(self.shape) == 1:
            return (MODEL,)
        return ("mean", "max", f"{GEM}:3", *((CLS,) if self.cls else ()), RAGGED, FLATTEN)

    @property
    def positions(self) -> int:
        """How many vectors there are with pooling `none`."""
        return math.prod(self.shape) // self.channels - self.prefix

    def dim(self, pooling: str | None) -> int:
        """Length of a vector with this pooling."""
        return math.prod(self.shape) if pooling == FLATTEN else self.channels

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tap:
        """The tap of `to_json`."""
        return cls(tuple(values["shape"]), values["prefix"], values["cls"], values["last"])


def pooling_name(pooling: str | None, model: str) -> str | None:
    """A pooling in its one form.

    Raises:
        ConfigError: The power of `gem` is no positive number.
    """
    name, colon, power = (pooling or "").partition(":")
    if name != GEM:
        return {"avg": "mean"}.get(name, pooling) if not colon else pooling
    try:
        value = float(power) if colon else 3.0
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ConfigError(f"model {model}: pooling `{pooling}` has no positive power", hint="write gem:3")
    return f"{GEM}:{value:g}"


@dataclass(frozen=True, slots=True)
class Taps:
    """The layers of a model that a head may name.

    Attributes:
        model: Its name, for messages.
        layers: What each gives; the first is the default.
        aliases: Other spellings of layers.
        refused: Why a layer that is there cannot be named, by name.
    """

    model: str
    layers: Mapping[str, Tap]
    aliases: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, head: Head) -> Head:
        """The head with the defaults filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        offer, filled = self._offer(head)
        return offer.resolve(filled)

    def spec(self, head: Head) -> VectorSpec:
        """What a head gives.

        Raises:
            ConfigError: As `resolve`.
        """
        offer, filled = self._offer(head)
        return offer.spec(filled)

    def positions(self, head: Head) -> int:
        """How many vectors a head gives that does not pool."""
        return self.layers[self._layer(head.layer)].positions

    def _offer(self, head: Head) -> tuple[Offer, Head]:
        layer, pooling = self._layer(head.layer), pooling_name(head.pooling, self.model)
        tap = self.layers[layer]
        poolings = tap.poolings
        if (pooling or "").startswith(f"{GEM}:") and len(tap.shape) > 1 and pooling not in poolings:
            poolings = (*poolings, str(pooling))
        offer = Offer(self.model, tap.dim(pooling or poolings[0]), (layer,), poolings)
        return offer, replace(head, layer=layer, pooling=pooling)

    def _layer(self, wanted: str | None) -> str:
        if wanted is None:
            return next(iter(self.layers))
        name = self.aliases.get(str(wanted), str(wanted))
        if name in self.layers:
            return name
        if name in self.refused:
            raise ConfigError(f"model {self.model}: layer `{wanted}` {self.refused[name]}", hint=_choice(name, self.layers))
        raise ConfigError(f"model {self.model}: no layer `{wanted}`", hint=_choice(name, self.layers))


def _choice(name: str, layers: Mapping[str, Tap]) -> str:
    """All valid layers, or of many those that are near: below or above the name, or spelled alike."""
    if len(layers) <= MANY:
        return nearest(name, layers)
    first = [one for one in layers if one.startswith(f"{name}.") or name.startswith(f"{one}.")]
    close = [*first, *(one for one in difflib.get_close_matches(name, layers, n=8, cutoff=0.3) if one not in first)][:12]
    return f"near: {', '.join(close or list(layers)[-8:])} (of {len(layers)} layers)"
