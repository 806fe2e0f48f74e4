"""Runs a loaded audio model: samples in, one float32 vector a head and recording out.

Where filling up changes nothing, recordings of different lengths go through together, padded and masked; else only those of one length do,
so that a recording gives the same vector alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from connector.encoders.audio_config import AudioModelDescription
from connector.encoders.heads import RAGGED
from connector.encoders.lanes import LaneModel
from connector.encoders.pretrained import pretrained
from connector.encoders.torch_device import dtype_of, part_of
from connector.encoders.vectors import pooled
from connector.interfaces import DeviceSpec, Head, Output, Prepared

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
        self._about, self._dtype = about, dtype_of(precision)

    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        parts = lots([item.cost for item in items], self._part, alike=not self._about.padded)
        done = self._lanes.map(lambda part: self._pass([items[index].data for index in part], heads), parts)
        return [_scattered([outputs[place] for outputs in done], parts, head) for place, head in enumerate(heads)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _pass(self, recordings: list[Any], heads: Sequence[Head]) -> list[Output]:
        lengths = [len(one) for one in recordings]
        values = np.zeros((len(recordings), max(lengths)), dtype=np.float32)
        for row, one in zip(values, recordings, strict=True):
            row[: len(one)] = one
        device = self._network.device
        inputs = {"input_values": torch.from_numpy(values).to(device, self._dtype)}
        if min(lengths) < max(lengths):
            inputs["attention_mask"] = _mask(lengths, max(lengths)).to(device)
        layers = any(head.layer != "last" for head in heads)
        output = self._network(**inputs, output_hidden_states=layers)
        frames = _mask([self._about.frames(length) for length in lengths], output.last_hidden_state.shape[1]).to(device)
        states = [output.last_hidden_state if head.layer == "last" else output.hidden_states[int(str(head.layer))] for head in heads]
        return [pooled(state, frames, head) for state, head in zip(states, heads, strict=True)]


def _mask(lengths: list[int], width: int) -> Any:
    return (torch.arange(width) < torch.tensor(lengths)[:, None]).long()


def lots(costs: Sequence[int], most: int, *, alike: bool) -> list[list[int]]:
    """Indices in parts of at most `most` padded cost or of one, cheapest first; with `alike`, all of a part cost the same."""
    parts: list[list[int]] = []
    for index in sorted(range(len(costs)), key=costs.__getitem__):
        part = parts[-1] if parts else []
        if part and (len(part) + 1) * costs[index] <= most and not (alike and costs[part[0]] != costs[index]):
            part.append(index)
        else:
            parts.append([index])
    return parts


def _scattered(outputs: list[Output], parts: list[list[int]], head: Head) -> Output:
    """One head's outputs of all parts, in the order of the items."""
    found = {index: one for output, part in zip(outputs, parts, strict=True) for index, one in zip(part, output, strict=True)}
    ordered = [found[index] for index in range(len(found))]
    return ordered if head.pooling == RAGGED else np.stack(ordered)
