"""Makes a head's vectors of what a layer gives, whatever its shape: a vector, a map, tokens. Needs torch.

Pooling is done in float32, and only over positions: class and register tokens are left out of a mean, as timm leaves them out. The
generalised mean is that of Radenović et al. (2018): the p-th root of the mean of p-th powers, of numbers that are at least 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from connector.encoders.heads import RAGGED
from connector.encoders.taps import CLS, FLATTEN, GEM, MODEL, Tap
from connector.encoders.vectors import Late, finished
from connector.interfaces import Head

EPSILON = 1e-6
"""Least number that goes into a generalised mean, whose roots want positive ones."""


def taken(output: Any, tap: Tap, head: Head) -> Late:
    """One head's output of what a layer gives.

    Args:
        output: (n, *tap.shape), any float.
        tap: The layer.
        head: Resolved.

    Returns:
        Late: (n, dim) float32, or with pooling `none` n arrays (positions, dim): tokens, or the rows of a map from the top.
    """
    if head.pooling in {MODEL, FLATTEN}:
        return finished(output.flatten(1), head)
    tokens = tokens_of(output, tap)
    positions = tokens[:, tap.prefix :].float()
    if head.pooling == RAGGED:
        return replace(finished(positions, head), make=list)
    kind, _, power = str(head.pooling).partition(":")
    return finished(tokens[:, 0] if kind == CLS else _gem(positions, float(power)) if kind == GEM else _POOL[kind](positions), head)


def tokens_of(output: Any, tap: Tap) -> Any:
    """(n, tokens, channels) of maps, row by row, or of tokens."""
    if len(tap.shape) <= 2:  # noqa: PLR2004 - tokens already
        return output
    return output.flatten(1, -2) if tap.last else output.flatten(2).transpose(1, 2)


def _gem(positions: Any, power: float) -> Any:
    return positions.clamp(min=EPSILON).pow(power).mean(dim=1).pow(1 / power)


_POOL: dict[str, Callable[[Any], Any]] = {"max": lambda one: one.amax(dim=1), "mean": lambda one: one.mean(dim=1)}
