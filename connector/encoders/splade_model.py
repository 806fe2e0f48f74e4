"""Runs a masked language model and takes from its logits sparse vectors: token ids in, maps of token id to weight out. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from connector.encoders.pretrained import pretrained
from connector.encoders.text_model import TextModel
from connector.encoders.torch_device import part_of
from connector.encoders.vectors import Late
from connector.interfaces import DeviceSpec, Head, Output

LOGITS_BYTES = 1 << 30
"""Most memory of the logits of what goes through the network at once: one float a padded token and word of the vocabulary."""


def load_splade(folder: Path, name: str, spec: DeviceSpec, *, pad_id: int) -> SpladeModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken, without a masked-language head, or not this model's.
    """
    network, precision = pretrained(transformers.AutoModelForMaskedLM, folder, name, spec)
    part = part_of(spec, network.device)
    most = LOGITS_BYTES // (4 * network.config.vocab_size)
    return SpladeModel(network, name, precision, part if spec.batch != "auto" else min(part, most), pad_id)


class SpladeModel(TextModel):
    """A masked language model on one device; a head of dtype `sparse` takes its logits, any other a hidden state."""

    def _heads(self, inputs: dict[str, Any], counted: Any, heads: Sequence[Head]) -> list[Late]:
        given = self._network(**inputs, output_hidden_states=any(head.dtype != "sparse" for head in heads))
        lengths, states = inputs["attention_mask"].sum(dim=1).tolist(), given.hidden_states
        return [
            _sparse(given.logits, lengths, head)
            if head.dtype == "sparse"
            else self._taken(states[-1], states, inputs["attention_mask"], counted, head)
            for head in heads
        ]


def _sparse(logits: Any, lengths: list[int], head: Head) -> Late:
    """One head's maps of token id to weight, those above zero only.

    The largest logit has the largest weight, so for `max` only one a token is activated.

    Args:
        logits: (n, positions, vocabulary), any float.
        lengths: Positions that count, of each input.
        head: Resolved.
    """
    texts = [one[:length] for one, length in zip(logits, lengths, strict=True)]
    if head.pooling == "max":
        weights = _activated(torch.stack([one.amax(dim=0) for one in texts]), head)
    else:
        weights = torch.stack([_activated(one, head).sum(dim=0) for one in texts])
    if head.truncate_dim:
        kept = weights.topk(head.truncate_dim, dim=-1)
        weights = torch.zeros_like(weights).scatter_(-1, kept.indices, kept.values)
    if head.normalize:
        weights = torch.nn.functional.normalize(weights, p=2, dim=-1)
    return Late((weights,), _maps)


def _maps(weights: Any) -> Output:
    return [dict(zip(one.nonzero()[0].tolist(), one[one != 0].tolist(), strict=True)) for one in weights]


def _activated(logits: Any, head: Head) -> Any:
    weights = logits.float().relu().log1p()
    return weights.log1p() if head.layer == "log1p_relu" else weights
