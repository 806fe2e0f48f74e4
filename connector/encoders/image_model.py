"""Runs a loaded image network: pixels in, one float32 vector a head and picture out. Any network will do.

Pictures come as eight-bit numbers, channels last, which is the order that convolutions like best; they are normalised in float32 on
the device and go through in the chosen precision. On a CPU a micro-batch goes through in small parts that stay in the processor's cache,
side by side: a large batch is slower there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from connector.encoders.convolutions import convolved
from connector.encoders.folding import folded, lowered
from connector.encoders.lanes import LaneModel
from connector.encoders.resizing import Preprocessing
from connector.encoders.timm_config import Network
from connector.encoders.torch_device import dtype_of, resolve_device, resolve_precision
from connector.encoders.vectors import Late
from connector.interfaces import DeviceSpec, Head, Prepared

Take: TypeAlias = Callable[[Any, Any, Sequence[Head]], list[Late]]
"""Runs a network: (network, pixels, heads) to one output a head."""

CPU_PART = 8 * 224 * 224
"""Pixels that go through a network at once on a CPU."""

CUDA_PART = 128 * 224 * 224
"""Pixels that go through it at once on a GPU, which wants many."""


def load(network: Network, weights: Path, name: str, spec: DeviceSpec, how: Preprocessing) -> ImageModel:
    """The network with its weights, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this network's.
    """
    from connector.encoders.timm_library import build, everything, take  # here, so that other families' networks are run without timm

    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    built = build(network.architecture, network.args, network.pretrained, weights, name)
    built = lowered(folded(built, how.size, everything), dtype_of(precision)).to(device=device, memory_format=torch.channels_last)
    if device.type == "cpu" and not spec.compile:
        built = convolved(built, how.size, everything)
    return ImageModel(built, take, name, precision, how, part_of(spec, device), device)


def part_of(spec: DeviceSpec, device: torch.device) -> int:
    """Pixels that go through a network at once."""
    if spec.batch != "auto":
        return max(1, spec.batch)
    return CUDA_PART if device.type == "cuda" else CPU_PART


class Scale(Protocol):
    """How numbers from 0 to 1 become those that a network reads, a channel each."""

    @property
    def mean(self) -> Sequence[float]:
        """Subtracted first."""

    @property
    def std(self) -> Sequence[float]:
        """Divides afterwards."""


class ImageModel(LaneModel):
    """An image network on one device; used by one thread at a time.

    Args:
        network: In evaluation mode.
        take: Makes the outputs of the network, normalised pixels (n, 3, height, width) in the precision's type, and heads.
        name: For messages.
        precision: What it computes in.
        how: Its mean and deviation.
        part: Pixels that go through it at once.
        device: Where it is.
    """

    inputs = "pictures"

    def __init__(self, network: Any, take: Take, name: str, precision: str, how: Scale, part: int, device: torch.device) -> None:
        super().__init__(network, name, precision, part, device)
        self._take = take
        self._dtype = dtype_of(precision)
        self._mean, self._std = (torch.tensor(one, device=device).view(1, -1, 1, 1) for one in (how.mean, how.std))

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        count = max(1, most // max(item.cost for item in items))
        return [items[start : start + count] for start in range(0, len(items), count)]

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        return (np.stack([item.data for item in items]),)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        return self._take(self._network, self._ready(tensors[0]), heads)

    def _ready(self, pictures: Any) -> Any:
        """What goes into the network."""
        pixels = pictures.permute(0, 3, 1, 2)  # in memory still channels last
        return pixels.float().div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
