"""Runs a loaded CLAP model: spectrograms or token ids in, float32 vectors of one space out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from connector.encoders.clap_features import TOKEN_COST
from connector.encoders.lanes import LaneModel
from connector.encoders.pretrained import pretrained
from connector.encoders.text_model import cut
from connector.encoders.torch_device import dtype_of, part_of
from connector.encoders.vectors import finished, joined
from connector.interfaces import DeviceSpec, Head, Output, Prepared


def load(folder: Path, name: str, spec: DeviceSpec, *, pad_id: int) -> ClapModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    network, precision = pretrained(transformers.ClapModel, folder, name, spec, unused=lambda _: False)
    part = part_of(spec, network.device) * (TOKEN_COST if spec.batch == "auto" else 1)
    return ClapModel(network, name, precision, part, pad_id)


class ClapModel(LaneModel):
    """Both towers on one device; used by one thread at a time.

    Args:
        network: A `transformers.ClapModel`.
        name: For messages.
        precision: What it computes in.
        part: Samples (or tokens at their cost) that go through the network at once.
        pad_id: Token id that fills the shorter texts up.
    """

    def __init__(self, network: Any, name: str, precision: str, part: int, pad_id: int) -> None:
        super().__init__(network, name, precision, part, network.device)
        self._pad_id, self._dtype = pad_id, dtype_of(precision)

    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        parts = self._lanes.map(lambda part: self._pass([item.data for item in part], heads), cut(items, self._part))
        return [joined(outputs) for outputs in zip(*parts, strict=True)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _pass(self, data: list[Any], heads: Sequence[Head]) -> list[Output]:
        vectors = self._sounds(data) if isinstance(data[0], tuple) else self._texts(data)
        return [finished(vectors, head) for head in heads]

    def _sounds(self, data: list[tuple[Any, bool]]) -> Any:
        features = torch.from_numpy(np.stack([mel for mel, _ in data])).to(self._network.device, self._dtype)
        longer = torch.tensor([[one] for _, one in data], device=self._network.device)
        pooled = self._network.audio_model(input_features=features, is_longer=longer).pooler_output
        return self._network.audio_projection(pooled)

    def _texts(self, data: list[Any]) -> Any:
        lengths = np.asarray([len(one) for one in data])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(data)
        inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
        pooled = self._network.text_model(**{name: torch.from_numpy(one).to(self._network.device) for name, one in inputs.items()})
        return self._network.text_projection(pooled.pooler_output)
