"""Holds an encoder's vectors against those of the library that its model comes from, and keeps the figures for the table in the docs.

The bounds are the same for every family: in float32 a cosine of at least 0.99999 and a relative difference of at most 1e-4, in bfloat16 a
cosine of at least 0.999, and a batch that gives what its inputs give alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.encoding.handle import EncoderHandle
from connector.interfaces import DeviceSpec, Encoder, Head

Matrix = npt.NDArray[np.float32]
COSINE_FP32, DIFFERENCE_FP32, COSINE_BF16, ALONE_FP32, ALONE_BF16 = 0.99999, 1e-4, 0.999, 1e-5, 0.9999


def check_parity(
    family: str,
    encoder: Encoder,
    inputs: Sequence[Any],
    wanted: Sequence[Any],
    head: Head | None = None,
    *,
    words: str = "",
    width: int = 0,
) -> None:
    """Asserts all bounds; with CONNECTOR_PARITY=file the figures are added to that file, a JSON line each.

    Args:
        family: Row of the table, such as "transformers text".
        encoder: Ours.
        inputs: At least three, of different sizes where the model takes such.
        wanted: The upstream library's float32 output, one array an input: (dim,) or, for heads that do not pool, (positions, dim).
        head: Default: the model's own embedding.
        words: What was encoded, for the table, such as "BERT, mean".
        width: Length of sparse vectors, which are compared as arrays of that length.
    """
    assert len(inputs) >= 3
    found, alone = _encode(encoder, inputs, head, "fp32", width)
    _check_positions(encoder, inputs, head or Head(), found)
    cosine, difference = agreement(found, wanted)
    _, spread = agreement(found, alone)
    rough, rough_one_by_one = _encode(encoder, inputs, head, "bf16", width)
    rough_cosine, _ = agreement(rough, wanted)
    rough_alone, _ = agreement(rough, rough_one_by_one)
    path = os.environ.get("CONNECTOR_PARITY")
    if path:
        figures = {"cosine fp32": cosine, "difference fp32": difference, "cosine bf16": rough_cosine, "alone fp32": spread}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"family": family, "what": words or encoder.model.model, **figures}) + "\n")
    assert cosine >= COSINE_FP32, f"fp32 cosine {cosine}"
    assert difference <= DIFFERENCE_FP32, f"fp32 relative difference {difference}"
    assert spread <= ALONE_FP32, f"alone and in a batch differ by {spread} in fp32"
    assert rough_cosine >= COSINE_BF16, f"bf16 cosine {rough_cosine}"
    assert rough_alone >= ALONE_BF16, f"alone and in a batch have cosine {rough_alone} in bf16"


def _check_positions(encoder: Any, inputs: Sequence[Any], head: Head, found: Sequence[Any]) -> None:
    """Rows are fanned out before anything is encoded, so the number of vectors must be known."""
    if encoder.spec(head).kind == "ragged":
        prepare, resolved = encoder.preparer("document"), encoder.resolve(head)
        assert [len(one) for one in found] == [encoder.positions(resolved, prepare(one)) for one in inputs]


def agreement(found: Sequence[Any], wanted: Sequence[Any]) -> tuple[float, float]:
    """The worst cosine, and the worst difference relative to a vector's length, over all pairs of vectors."""
    pairs = [(_matrix(one), _matrix(other)) for one, other in zip(found, wanted, strict=True)]
    assert all(one.shape == other.shape for one, other in pairs), [(one.shape, other.shape) for one, other in pairs]
    a, b = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / (norms_a * norms_b)).min()), float((np.linalg.norm(a - b, axis=1) / norms_b).max())


def _matrix(one: Any) -> npt.NDArray[Any]:
    array = np.asarray(one)
    return array[None] if array.ndim == 1 else array


def _encode(encoder: Encoder, inputs: Sequence[Any], head: Head | None, precision: Any, width: int) -> tuple[list[Any], list[Any]]:
    """The vectors of the inputs in one batch, and of each alone, from one model that was opened once."""
    with EncoderHandle(encoder, head, DeviceSpec(device="cpu", precision=precision)) as handle:
        together, alone = list(handle.encode(inputs)), [handle.encode([one])[0] for one in inputs]
    return [_comparable(one, width) for one in together], [_comparable(one, width) for one in alone]


def _comparable(one: Any, width: int) -> Any:
    return dense(one, width) if isinstance(one, dict) else one


def dense(weights: dict[int, float], width: int) -> Matrix:
    """A sparse vector as an array."""
    array = np.zeros(width, dtype=np.float32)
    array[list(weights)] = list(weights.values())
    return array
