"""Fills a head with a model's defaults and refuses what the model cannot give, for every family alike and without torch.

A filled head is part of an identity, so two ways to write one thing (the last layer by number or by name, a truncation that keeps all)
must come out as one: families bring a layer's name into its one form before they ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from connector.errors import ConfigError, nearest
from connector.interfaces import Head, VectorSpec

DENSE = ("float32", "float16", "bfloat16", "int8", "binary")
"""What a dense vector can be stored as; models give float32, and the rest is made of that."""

RAGGED = "none"
"""The pooling that keeps one vector a position."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a model offers to heads.

    Attributes:
        model: Its name, for messages.
        dim: Numbers of a vector of the layer that the head names.
        layers: Valid layers, in their one form; the first is the default.
        poolings: Valid poolings for that layer; the first is the default.
        normalize: Whether vectors are scaled to unit length unless the head says.
        truncate_dim: How many numbers are kept unless the head says; None: all.
        dtypes: What vectors can be stored as.
    """

    model: str
    dim: int
    layers: Sequence[str]
    poolings: Sequence[str]
    normalize: bool = False
    truncate_dim: int | None = None
    dtypes: Sequence[str] = DENSE

    def resolve(self, head: Head) -> Head:
        """The head with every default filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        filled = replace(
            head,
            layer=head.layer or self.layers[0],
            pooling=head.pooling or self.poolings[0],
            normalize=self.normalize if head.normalize is None else head.normalize,
            truncate_dim=self.truncate_dim if head.truncate_dim is None else head.truncate_dim,
        )
        if filled.truncate_dim == self.dim:
            filled = replace(filled, truncate_dim=None)
        stated = (("layer", filled.layer, self.layers), ("pooling", filled.pooling, self.poolings), ("dtype", filled.dtype, self.dtypes))
        for what, value, valid in stated:
            if value not in valid:
                raise ConfigError(f"model {self.model}: no {what} `{value}`", hint=nearest(str(value), valid))
        if filled.truncate_dim is not None and not 0 < filled.truncate_dim < self.dim:
            raise ConfigError(
                f"model {self.model}: truncate_dim is {filled.truncate_dim}, wanted 1 to {self.dim}", hint="correct truncate_dim"
            )
        return filled

    def spec(self, head: Head) -> VectorSpec:
        """What a head gives: one dense vector an input, or one a position.

        Raises:
            ConfigError: As `resolve`.
        """
        filled = self.resolve(head)
        return VectorSpec("ragged" if filled.pooling == RAGGED else "dense", filled.truncate_dim or self.dim, filled.dtype)
