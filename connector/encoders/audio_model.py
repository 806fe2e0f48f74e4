"""Runs a loaded audio model: samples in, one float32 vector a head and recording out.

Where filling up changes nothing, recordings of different lengths go through together, padded and masked; else only those of one length do,
so that a recording gives the same vector alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from connector.encoders.audio_config import AudioModelDescription
from connector.encoders.lanes import Begun, LaneModel
from connector.encoders.parts import cut
from connector.encoders.pretrained import pretrained
from connector.encoders.torch_device import dtype_of, part_of
from connector.encoders.vectors import Late, pooled
from connector.interfaces import DeviceSpec, Head, Prepared

SAMPLES_A_TOKEN = 320
"""Samples of one frame of these models (20 ms at 16 kHz), which is their token: the unit in which a device's part is stated."""


def load(folder: Path, name: str, spec: DeviceSpec, about: AudioModelDescription) -> AudioModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    network, precision = pretrained(transformers.AutoModel, folder, name, spec, unused=_training_only)
    part = part_of(spec, network.device) * (SAMPLES_A_TOKEN if spec.batch == "auto" else 1)
    return AudioModel(network, name, precision, part, about)


REACHING = frozenset({"wavlm"})
"""Types whose attention takes the weights out of its layers."""


def _training_only(key: str) -> bool:
    return "masked_spec_embed" in key


class AudioModel(LaneModel):
    """An audio model on one device; used by one thread at a time.

    Args:
        network: Gives `last_hidden_state`, and `hidden_states` when asked, for `input_values`.
        name: For messages.
        precision: What it computes in.
        part: Samples that go through the network at once, padding included.
        about: Its frames, and whether it may be padded.
    """

    inputs = "recordings"

    def __init__(self, network: Any, name: str, precision: str, part: int, about: AudioModelDescription) -> None:
        super().__init__(network, name, precision, part, network.device)
        self.packs = network.config.model_type not in REACHING
        self._about, self._dtype = about, dtype_of(precision)

    def _begin(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Begun:
        """Lets the cheapest go first, so that a part's lengths are close, and puts what comes out in the order of the items again."""
        order = sorted(range(len(items)), key=lambda index: items[index].cost)
        places = np.argsort(order)
        begun = super()._begin([items[index] for index in order], heads)
        return lambda: [[output[place] for place in places] if isinstance(output, list) else output[places] for output in begun()]

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return lots(items, most, self.device.type, alike=not self._about.padded)

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        """Samples, how many frames they make, and a mask where some are shorter."""
        lengths = np.asarray([len(item.data) for item in items])
        samples = np.zeros((len(items), lengths.max()), dtype=np.float32)
        for row, item in zip(samples, items, strict=True):
            row[: len(item.data)] = item.data
        frames = np.asarray([self._about.frames(int(length)) for length in lengths])
        if lengths.min() == lengths.max():
            return samples, frames
        return samples, frames, (np.arange(samples.shape[1]) < lengths[:, None]).astype(np.int64)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        samples, frames, *mask = tensors
        inputs = {"input_values": samples.to(self._dtype)} | ({"attention_mask": mask[0]} if mask else {})
        output = self._network(**inputs, output_hidden_states=any(head.layer != "last" for head in heads))
        last = output.last_hidden_state
        counted = (torch.arange(last.shape[1], device=last.device) < frames[:, None]).long()
        states = [last if head.layer == "last" else output.hidden_states[int(str(head.layer))] for head in heads]
        return [pooled(state, counted, head) for state, head in zip(states, heads, strict=True)]


def lots(items: Sequence[Prepared], most: int, device: str, *, alike: bool) -> list[Sequence[Prepared]]:
    """Items, cheapest first, in parts of at most `most` padded cost or of one; with `alike`, all of a part cost the same."""
    groups = [list(group) for _, group in groupby(items, key=lambda item: item.cost)] if alike else [items]
    return [part for group in groups for part in cut(group, most, device)]
