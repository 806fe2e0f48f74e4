"""Makes a head's vectors of what a network gives: pooled over the positions, cut, scaled, in float32. Needs torch.

Networks compute in the chosen precision, but pooling and normalisation are done in float32: summing hundreds of bfloat16 numbers in
bfloat16 costs more accuracy than all the layers before. What comes out may still be under way on a GPU: a `Late`, which nobody waits
for here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from connector.encoders.heads import RAGGED
from connector.interfaces import Head, Output


def _itself(vectors: Any) -> Any:
    return vectors


@dataclass(frozen=True, slots=True)
class Late:
    """A head's output that its device may still be computing.

    Attributes:
        tensors: Where the network is.
        make: Makes the output of them once they are numpy arrays.
    """

    tensors: Sequence[Any]
    make: Callable[..., Output] = _itself

    def take(self) -> Output:
        """The output of tensors that are on the CPU, whose memory it shares."""
        return self.make(*(one.numpy() for one in self.tensors))


def pooled(hidden: Any, mask: Any, head: Head, then: Callable[[Any], Any] | None = None) -> Late:
    """One head's output of hidden states.

    Args:
        hidden: (n, positions, dim), any float.
        mask: (n, positions), 1 where a position counts; the ones that count stand together.
        head: Resolved; several poolings are written `cls+mean`.
        then: Applied to the pooled vectors before they are cut and scaled.

    Returns:
        Late: (n, dim) float32, or with pooling `none` n arrays (positions that count, dim).
    """
    hidden = hidden.float()
    if head.pooling != RAGGED:
        vectors = torch.cat([POOL[mode](hidden, mask) for mode in str(head.pooling).split("+")], dim=-1)
        return finished(vectors if then is None else then(vectors), head)
    return Late((_scaled(hidden, head), mask.bool()), _kept)


def _kept(hidden: Any, mask: Any) -> Output:
    return [one[keep] for one, keep in zip(hidden, mask, strict=True)]


def finished(vectors: Any, head: Head) -> Late:
    """Vectors (..., dim) cut and scaled as a resolved head says: float32, late."""
    return Late((_scaled(vectors, head),))


def _scaled(vectors: Any, head: Head) -> Any:
    vectors = vectors.float()
    if head.truncate_dim:
        vectors = vectors[..., : head.truncate_dim]
    if head.normalize:
        vectors = torch.nn.functional.normalize(vectors, p=2, dim=-1)
    return vectors


def joined(outputs: Sequence[Output]) -> Output:
    """One head's outputs of consecutive parts as one."""
    if isinstance(outputs[0], list):
        return [one for output in outputs for one in output]
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


def _mean(hidden: Any, mask: Any) -> Any:
    return _weighted(hidden, mask.float(), mask.sum(dim=1, keepdim=True))


def _mean_sqrt_len(hidden: Any, mask: Any) -> Any:
    return _weighted(hidden, mask.float(), mask.sum(dim=1, keepdim=True).sqrt())


def _weighted_mean(hidden: Any, mask: Any) -> Any:
    """Later positions weigh more; a position's weight is its place, whether those before it count or not."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return _weighted(hidden, weights.float(), weights.sum(dim=1, keepdim=True))


def _weighted(hidden: Any, weights: Any, total: Any) -> Any:
    return (hidden * weights.unsqueeze(-1)).sum(dim=1) / total


def _max(hidden: Any, mask: Any) -> Any:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _last(hidden: Any, mask: Any) -> Any:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)]


def _cls(hidden: Any, mask: Any) -> Any:
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(dim=1)]


POOL: dict[str, Callable[[Any, Any], Any]] = {
    "cls": _cls,
    "last": _last,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weighted_mean": _weighted_mean,
}
"""Poolings over positions: (n, positions, dim) and (n, positions) to (n, dim). `cls` and `last` are the first and the last that count."""
