"""Makes the convolutions of a network quicker on a CPU, by handing them to oneDNN with what stands around them. Needs torch.

An activation is computed as a convolution's numbers leave the registers, instead of in a pass over memory of its own. Padding as TensorFlow
has it, which timm copies the whole picture for, becomes a kernel with a row and a column of zeros more. And torch leaves small float32
convolutions to code several times slower when it has one thread, as each of our lanes has. One picture through the network says whether
all of it gives the same. Measured on one core, 8 pictures at a time, bfloat16 and float32: EfficientNet-Lite0 1.30 and 1.52 times as fast,
EfficientNet-B0 as timm has it from TensorFlow 1.09 and 1.25, RegNetY-004 1.12 and 1.11, ResNet50 1.06 and 1.11, ConvNeXt-T 1.00 and 0.97.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import nn

from connector.encoders.folding import agree, noise

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
"""Largest difference, relative to an output's length, by what a network computes in."""

FEW = 4
"""Convolutions below which a network is none of this kind: that which cuts the patches of a transformer is not worth a look."""

_Outputs: TypeAlias = Callable[[Any, Any], Sequence[Any]]

_ACTIVATIONS: dict[type, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""oneDNN's names, and numbers, of what it can compute behind a convolution."""


class Convolution(nn.Module):  # type: ignore[misc]  # torch's types are not read
    """A convolution with the activation behind it, by oneDNN whatever its size.

    Args:
        layer: The convolution, on a CPU.
        padding: Rows above and below, and columns left and right, if they are not the layer's own.
    """

    def __init__(self, layer: nn.Conv2d, padding: Sequence[int] | None = None) -> None:
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.weight, self.bias = layer.weight, layer.bias
        self._how = (list(padding or layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        self.activation: tuple[str, list[float]] = ("none", [])

    def forward(self, given: Any) -> Any:
        """What the layer and its activation give."""
        return torch.ops.mkldnn._convolution_pointwise(given, self.weight, self.bias, *self._how, *self.activation, "")  # noqa: SLF001 - torch has no public name for it


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
def convolved(network: Any, size: tuple[int, int], outputs: _Outputs) -> Any:
    """The network with its convolutions replaced, or the network itself where that changes anything of `outputs`, or cannot be done.

    Args:
        network: In evaluation mode, on a CPU, in the type that it computes in.
        size: Height and width of its pictures, which are always the same.
        outputs: Everything that is ever taken from it, by network and pixels.
    """
    plain = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    if len(plain) < FEW or plain[0].weight.dtype not in TOLERANCE:
        return network
    dtype = plain[0].weight.dtype
    pixels = noise(size).to(dtype).to(memory_format=torch.channels_last)
    try:
        made = copy.deepcopy(network)
        wanted = outputs(network, pixels)
        _replace(made, _sizes(made, pixels, outputs))

        def same() -> bool:
            return agree(wanted, outputs(made, pixels), TOLERANCE[dtype])

        if not same():
            return network
        for pairs in _pairs(made).values():
            _fuse(pairs, same)
    except Exception as error:  # noqa: BLE001 - a network, or a build of torch, may refuse in any way
        log.debug("convolutions stay as they are: %s", error)
        return network
    return made


def _sizes(network: Any, pixels: Any, outputs: _Outputs) -> dict[Any, set[tuple[int, int]]]:
    """Height and width of what each convolution of TensorFlow's padding is given."""
    found: dict[Any, set[tuple[int, int]]] = defaultdict(set)

    def note(layer: Any, given: tuple[Any, ...]) -> None:
        found[layer].add(tuple(given[0].shape[-2:]))

    same = [layer for layer in network.modules() if type(layer).__name__ == "Conv2dSame"]
    hooks = [layer.register_forward_pre_hook(note) for layer in same]
    if hooks:
        outputs(network, pixels)
    for hook in hooks:
        hook.remove()
    return found


def _replace(network: Any, sizes: dict[Any, set[tuple[int, int]]]) -> None:
    """Puts a `Convolution` in the place of each that pads with zeros, be it by itself or, at these sizes, as TensorFlow does."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
                setattr(parent, name, Convolution(layer))
            elif len(sizes.get(layer, ())) == 1 and (padded := _padded(layer, *sizes[layer])) is not None:
                setattr(parent, name, padded)


def _padded(layer: Any, size: tuple[int, int]) -> Convolution | None:
    """The same with zeros in its kernel for the side that has less padding; None where the sides differ by more than one."""
    sides = []
    for length, stride, kernel, dilation in zip(size, layer.stride, layer.kernel_size, layer.dilation, strict=True):
        total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
        sides.append((total // 2, total - total // 2, dilation))
    if any(before != after and dilation > 1 for before, after, dilation in sides):
        return None
    (top, bottom, _), (left, right, _) = sides
    weight = nn.functional.pad(layer.weight, (right - left, 0, bottom - top, 0))
    layer.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    return Convolution(layer, (bottom, right))


def _pairs(network: Any) -> dict[tuple[Any, ...], list[tuple[Any, str, Convolution]]]:
    """Convolutions and activations that stand behind each other, by the kind of block: (block, activation's name, convolution)."""
    found: dict[tuple[Any, ...], list[tuple[Any, str, Convolution]]] = defaultdict(list)
    for block in network.modules():
        layers = [(name, layer) for name, layer in block.named_children() if type(layer) is not nn.Identity]
        for (first, layer), (second, activation) in pairwise(layers):
            if isinstance(layer, Convolution) and type(activation) in _ACTIVATIONS:
                found[type(block), first, second].append((block, second, layer))
    return found


def _fuse(pairs: list[tuple[Any, str, Convolution]], same: Callable[[], bool]) -> None:
    """Has the convolutions compute the activations; undone if these stand elsewhere than it seems, as behind a sum."""
    before = [getattr(block, name) for block, name, _ in pairs]
    for block, name, layer in pairs:
        layer.activation = _ACTIVATIONS[type(getattr(block, name))]
        setattr(block, name, nn.Identity())
    if not same():
        for (block, name, layer), activation in zip(pairs, before, strict=True):
            layer.activation = ("none", [])
            setattr(block, name, activation)
