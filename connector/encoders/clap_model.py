"""Runs a loaded CLAP model: spectrograms or token ids in, float32 vectors of one space out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from connector.encoders.clap_features import TOKEN_COST
from connector.encoders.lanes import LaneModel
from connector.encoders.parts import cut
from connector.encoders.pretrained import pretrained
from connector.encoders.torch_device import dtype_of, part_of
from connector.encoders.vectors import Late, finished
from connector.interfaces import DeviceSpec, Head, Prepared


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

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return cut(items, most, self.device.type)

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        data = [item.data for item in items]
        return _spectrograms(data) if isinstance(data[0], tuple) else self._texts(data)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        vectors = self._heard(*tensors) if tensors[0].is_floating_point() else self._read(*tensors)
        return [finished(vectors, head) for head in heads]

    def _heard(self, spectrograms: Any, longer: Any) -> Any:
        output = self._network.audio_model(input_features=spectrograms.to(self._dtype), is_longer=longer)
        return self._network.audio_projection(output.pooler_output)

    def _read(self, ids: Any, mask: Any) -> Any:
        return self._network.text_projection(self._network.text_model(input_ids=ids, attention_mask=mask).pooler_output)

    def _texts(self, data: list[Any]) -> tuple[Any, Any]:
        """Token ids, filled up to the longest, and where they are to be read."""
        lengths = np.asarray([len(one) for one in data])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, self._pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(data)
        return ids, mask.astype(np.int64)


def _spectrograms(data: list[tuple[Any, bool]]) -> tuple[Any, Any]:
    """Of recordings, and whether each was longer than the model hears at once."""
    return np.stack([mel for mel, _ in data]), np.asarray([[longer] for _, longer in data])
