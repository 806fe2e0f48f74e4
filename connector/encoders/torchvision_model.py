"""Runs a network of torchvision: whatever nodes are wanted come out of one pass, pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from connector.encoders.folding import lowered
from connector.encoders.graph import Traced
from connector.encoders.image_model import ImageModel, part_of
from connector.encoders.lanes import Begun
from connector.encoders.packing import pack
from connector.encoders.resizing import Preprocessing
from connector.encoders.tapping import taken
from connector.encoders.taps import Tap
from connector.encoders.torch_device import resolve_device, resolve_precision
from connector.encoders.torchvision_library import loaded
from connector.encoders.vectors import Late
from connector.interfaces import DeviceSpec, Head, Prepared

KEPT = 2
"""Cuts of a network that are kept; a run has one."""


def load(
    name: str, weights: str, classes: int | None, file: Path, spec: DeviceSpec, how: Preprocessing, layers: Mapping[str, Tap], default: str
) -> TorchvisionModel:
    """The network with the weights of a file, on the device of `spec`.

    Args:
        name: Of the model.
        weights: Of torchvision's weights, which say how the network is built.
        classes: How many it tells apart; None: as many as torchvision's weights do.
        file: Holds the weights.
        spec: Where and how to compute.
        how: Its mean and deviation.
        layers: What each node gives, by the names that heads have.
        default: The node behind the first of them.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this network's.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    traced = Traced(loaded(name, weights, classes, file))
    return TorchvisionModel(traced, layers, default, name, precision, how, part_of(spec, device), device)


class TorchvisionModel(ImageModel):
    """A traced network; used by one thread at a time.

    Args:
        traced: In float32.
        layers: What each node gives, by the names that heads have.
        default: The node behind the first of them.
        name: For messages.
        precision: What it computes in.
        how: Its mean and deviation.
        part: Pixels that go through it at once.
        device: Where it is.
    """

    packs = False  # what is cut out is packed, later

    def __init__(
        self,
        traced: Traced,
        layers: Mapping[str, Tap],
        default: str,
        name: str,
        precision: str,
        how: Preprocessing,
        part: int,
        device: torch.device,
    ) -> None:
        super().__init__(traced, self._take, name, precision, how, part, device)
        self._layers, self._first, self._default = layers, next(iter(layers)), default
        self._cuts: dict[tuple[str, ...], Any] = {}

    def _begin(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Begun:
        """Cuts the network before the lanes start, for they share it."""
        wanted = _wanted(heads)
        if wanted not in self._cuts:
            while len(self._cuts) >= KEPT:
                self._cuts.pop(next(iter(self._cuts)))
            self._cuts[wanted] = self._cut(wanted)
        return super()._begin(items, heads)

    def _cut(self, wanted: tuple[str, ...]) -> Any:
        nodes = [self._default if name == self._first else name for name in wanted]
        network = self._network.cut(nodes, intact=wanted != (self._first,))
        cut = lowered(network, self._dtype).to(device=self._device, memory_format=torch.channels_last)
        if self._compiled:
            self._compile(cut)
        else:
            pack(cut, fuse=False)
        return cut

    def _take(self, _network: Any, pixels: Any, heads: Sequence[Head]) -> list[Late]:
        wanted = _wanted(heads)
        outputs = dict(zip(wanted, self._cuts[wanted](pixels), strict=True))
        return [taken(outputs[str(head.layer)], self._layers[str(head.layer)], head) for head in heads]

    def close(self) -> None:
        """Frees the weights."""
        self._cuts.clear()
        super().close()


def _wanted(heads: Sequence[Head]) -> tuple[str, ...]:
    return tuple(sorted({str(head.layer) for head in heads}))
