"""Runs a loaded text model: token ids in, one float32 vector a head and input out.

A micro-batch goes through in parts that stay in the processor's cache, padded to their own longest input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from connector.encoders.lanes import LaneModel
from connector.encoders.pretrained import pretrained
from connector.encoders.torch_device import part_of
from connector.encoders.vectors import joined, pooled
from connector.interfaces import DeviceSpec, Head, Output, Prepared


def load(folder: Path, name: str, spec: DeviceSpec, *, pad_id: int) -> TextModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    network, precision = pretrained(transformers.AutoModel, folder, name, spec)
    return TextModel(network, name, precision, part_of(spec, network.device), pad_id)


class TextModel(LaneModel):
    """A text model on one device; used by one thread at a time.

    Args:
        network: Gives `last_hidden_state` for `input_ids` and `attention_mask`.
        name: For messages.
        precision: What it computes in.
        part: Padded tokens that go through the network at once.
        pad_id: Token id that fills the shorter inputs up.
    """

    inputs = "inputs"

    def __init__(self, network: Any, name: str, precision: str, part: int, pad_id: int) -> None:
        super().__init__(network, name, precision, part, network.device)
        self._pad_id = pad_id

    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        parts = self._lanes.map(lambda part: self._pass([item.data for item in part], heads), cut(items, self._part))
        return [joined(outputs) for outputs in zip(*parts, strict=True)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _pass(self, ids: list[Any], heads: Sequence[Head]) -> list[Output]:
        lengths = [len(one) for one in ids]
        padded = np.full((len(ids), max(lengths)), self._pad_id, dtype=np.int64)
        for row, one in zip(padded, ids, strict=True):
            row[: len(one)] = one
        mask = np.arange(padded.shape[1]) < np.asarray(lengths)[:, None]
        device = self._network.device
        inputs = {"input_ids": torch.from_numpy(padded).to(device), "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(device)}
        hidden = self._network(**inputs).last_hidden_state.float()
        return [pooled(hidden, inputs["attention_mask"], head) for head in heads]


def cut(items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
    """Consecutive parts of the items, each of at most `most` padded tokens or of one item."""
    parts: list[Sequence[Prepared]] = []
    start = dearest = 0
    for index, item in enumerate(items):
        if index > start and (index - start + 1) * max(dearest, item.cost) > most:
            parts.append(items[start:index])
            start, dearest = index, 0
        dearest = max(dearest, item.cost)
    return [*parts, items[start:]]
