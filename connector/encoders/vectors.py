"""Makes a head's vectors of what a network gives: pooled over the positions, cut, scaled, in float32 on the CPU. Needs torch.

Networks compute in the chosen precision, but pooling and normalisation are done in float32: summing hundreds of bfloat16 numbers in
bfloat16 costs more accuracy than all the layers before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from connector.encoders.heads import RAGGED
from connector.interfaces import Head, Output


def pooled(hidden: Any, mask: Any, head: Head) -> Output:
    """One head's output of hidden states.

    Args:
        hidden: (n, positions, dim), any float.
        mask: (n, positions), 1 where a position counts; the ones that count come first.
        head: Resolved.

    Returns:
        (n, dim) float32, or with pooling `none` n arrays (positions that count, dim).
    """
    hidden = hidden.float()
    if head.pooling != RAGGED:
        vectors: Output = finished(POOL[str(head.pooling)](hidden, mask), head)
        return vectors
    lengths = mask.sum(dim=1).tolist()
    return [one[:length] for one, length in zip(finished(hidden, head), lengths, strict=True)]


def finished(vectors: Any, head: Head) -> Any:
    """Vectors (..., dim) cut and scaled as a resolved head says: a numpy array of float32."""
    vectors = vectors.float()
    if head.truncate_dim:
        vectors = vectors[..., : head.truncate_dim]
    if head.normalize:
        vectors = torch.nn.functional.normalize(vectors, p=2, dim=-1)
    return vectors.cpu().numpy()


def joined(outputs: Sequence[Output]) -> Output:
    """One head's outputs of consecutive parts as one."""
    if isinstance(outputs[0], list):
        return [one for output in outputs for one in output]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _mean(hidden: Any, mask: Any) -> Any:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _max(hidden: Any, mask: Any) -> Any:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _last(hidden: Any, mask: Any) -> Any:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]


def _cls(hidden: Any, _mask: Any) -> Any:
    return hidden[:, 0]


POOL: dict[str, Callable[[Any, Any], Any]] = {"cls": _cls, "last": _last, "max": _max, "mean": _mean}
"""Poolings over positions: (n, positions, dim) and (n, positions) to (n, dim)."""
