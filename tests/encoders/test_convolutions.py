"""Convolutions by oneDNN: the same numbers, and nothing where that is not so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from connector.encoders.convolutions import Convolution, convolved
from tests.encoders.test_packing import NATIVE


def outputs(network: Any, pixels: Any) -> Sequence[Any]:
    """What a network gives."""
    return [network(pixels)]


def pixels(size: int = 32, dtype: Any = torch.float32) -> Any:
    """Two pictures."""
    made = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) - 0.5
    return made.to(dtype).to(memory_format=torch.channels_last)


def timms(name: str, dtype: Any) -> Any:
    """One of timm's networks, with random weights, as it is loaded."""
    import timm

    from connector.encoders.folding import folded, lowered

    torch.manual_seed(2)
    network = timm.create_model(name, num_classes=0).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2)
    return lowered(folded(network, (64, 64), outputs), dtype).to(memory_format=torch.channels_last)


def convolutions(network: Any) -> list[Convolution]:
    """Those that were replaced."""
    return [layer for layer in network.modules() if isinstance(layer, Convolution)]


def close(one: Any, other: Any, within: float) -> bool:
    """Whether they differ by no more than this, relative to their length."""
    return bool((one.float() - other.float()).norm() <= within * one.float().norm())


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "tf_mobilenetv3_small_minimal_100", "regnetx_002"])
def test_networks_give_the_same(name: str, dtype: Any, within: float) -> None:
    """Of several kinds, with activations fused; one is not touched in place, and none where oneDNN cannot."""
    network = timms(name, dtype)
    made = convolved(network, (64, 64), outputs)
    assert (made is not network) == (dtype is torch.float32 or NATIVE), "oneDNN refuses bfloat16 where the processor has none"
    assert not convolutions(network)
    assert made is network or any(layer.activation[0] != "none" for layer in convolutions(made))
    with torch.inference_mode():
        assert close(network(pixels(64, dtype)), made(pixels(64, dtype)), within)


@pytest.mark.parametrize("size", [31, 32, 33])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 2, 1), (6, 2, 1), (3, 2, 2), (3, 3, 1), (1, 2, 1)])
def test_padding_as_tensorflow_has_it(size: int, kernel: int, stride: int, dilation: int) -> None:
    """Whatever the size, the kernel and the stride."""
    from timm.layers import Conv2dSame

    torch.manual_seed(3)
    layers = [Conv2dSame(3, 8, kernel, stride=stride, dilation=dilation), *(nn.Conv2d(8, 8, 1) for _ in range(3))]
    network = nn.Sequential(*layers).eval()
    made = convolved(network, (size, size), outputs)
    with torch.inference_mode():
        assert made(pixels(size)).shape == network(pixels(size)).shape
        assert close(network(pixels(size)), made(pixels(size)), 1e-5)


class Lying(nn.Module):  # type: ignore[misc]  # torch's types are not read
    """A block whose activation stands behind a sum, and not where it seems."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act1 = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.last, self.act2 = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

    def forward(self, given: Any) -> Any:
        """The sum."""
        return self.act2(given - self.last(self.act1(self.first(given))))


def test_an_activation_behind_a_sum_stays_there() -> None:
    """Those of the same blocks that do stand behind their convolution are fused all the same."""
    torch.manual_seed(4)
    network = nn.Sequential(Lying(), Lying()).eval()
    made = convolved(network, (32, 32), outputs)
    assert [layer.activation[0] for layer in convolutions(made)] == ["relu", "none"] * 2
    assert all(isinstance(block.act2, nn.ReLU) for block in made)
    with torch.inference_mode():
        assert close(network(pixels()), made(pixels()), 1e-5)


class Reaching(nn.Sequential):  # type: ignore[misc]  # torch's types are not read
    """A network that reaches into its layers."""

    def forward(self, given: Any) -> Any:
        """By a name that only torch's own class has."""
        assert self[0].transposed is False
        return super().forward(given)


@pytest.mark.parametrize(
    "network",
    [
        Reaching(*(nn.Conv2d(3, 3, 3) for _ in range(4))),
        nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.ReLU()),
        nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(4))).half(),
    ],
    ids=["reaches for a layer", "one convolution", "float16"],
)
def test_what_stays_as_it_is(network: Any) -> None:
    """A network that would fail, one that cuts patches, and a type that oneDNN may not have."""
    assert convolved(network.eval(), (32, 32), outputs) is network


def test_without_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another build of torch: nothing changes, nothing fails."""
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(4))).eval()
    monkeypatch.setattr(Convolution, "forward", lambda *_: torch.ops.mkldnn.no_such_operator())
    assert convolved(network, (32, 32), outputs) is network
