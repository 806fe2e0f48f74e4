"""Makes small numbers of float32 vectors: bytes (int8) or bits (binary), the same way for what is stored and for what is searched for.

int8 keeps the geometry: one scale for all dimensions, so cosines and inner products stay in proportion, which ranges by dimension do not
promise. The scale is fitted once, on the first vectors of a generation, and kept in its stamp; a later vector that goes beyond is clipped.
binary keeps the sign of every number, compared by Hamming distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

STEPS = 127
"""Largest int8 number that is used, so that both signs reach as far."""

ENOUGH = 256
"""A scale that was fitted on fewer vectors may be too small for those to come."""

QUANTISED = frozenset({"int8", "binary"})
"""Types of `Head.dtype` that are made here."""


def fit(vectors: npt.NDArray[Any]) -> float:
    """What one step of int8 is worth, so that the largest number of a sample (n, dim) just fits; 1.0 for a sample of zeros."""
    return float(np.abs(vectors).max(initial=0.0)) / STEPS or 1.0


def quantised(vectors: npt.NDArray[Any], dtype: str, scale: float | None) -> npt.NDArray[Any]:
    """Vectors (n, dim) float32 as (n, dim) int8, or as (n, dim / 8) uint8 for binary, the first number in the highest bit.

    Args:
        vectors: Finite numbers.
        dtype: One of `QUANTISED`.
        scale: Of `fit`; for int8.
    """
    if dtype == "binary":
        return np.packbits(vectors > 0, axis=1)
    steps = np.rint(vectors / np.float32(scale or 1.0))
    return np.clip(steps, -STEPS, STEPS).astype(np.int8)
