"""Packed weights change speed only: the same numbers within bfloat16, and what cannot be packed stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from connector.encoders import packing
from connector.encoders.packing import PackedLinear, pack
from connector.encoders.transformers import TransformersEncoder
from connector.interfaces import DeviceSpec, Head

NATIVE = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Whether this processor has what packing is for; elsewhere nothing is packed, which is tested all the same."""


class Block(nn.Module):  # type: ignore[misc]  # torch's types are not read
    """A linear layer, an activation, a linear layer, as timm has them."""

    def __init__(self, activation: Any, *, behind: bool = True) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(32, 64), activation, nn.Linear(64, 32)
        self.behind = behind

    def forward(self, given: Any) -> Any:
        """The block; with `behind` False the activation comes first."""
        return self.fc2(self.act(self.fc1(given))) if self.behind else self.fc2(self.fc1(self.act(given)))


def block(activation: Any, *, behind: bool = True) -> Any:
    """With the same weights each time."""
    torch.manual_seed(3)
    return Block(activation, behind=behind).eval().to(torch.bfloat16)


def near(one: Any, other: Any) -> bool:
    """Whether two networks give the same within bfloat16."""
    given = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    with torch.inference_mode():
        wanted, found = one(given).float(), other(given).float()
    return bool((wanted - found).norm() <= 0.01 * wanted.norm())


@pytest.mark.parametrize("activation", [nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU()])
def test_an_activation_becomes_part_of_the_layer(activation: Any) -> None:
    """Where it stands behind the layer; the numbers stay."""
    plain = block(activation)
    made = copy.deepcopy(plain)
    assert pack(made, fuse=True) == (2 if NATIVE else 0)
    assert near(plain, made)
    assert (type(made.act) is nn.Identity) is NATIVE


def test_layers_alone_keep_what_stands_between() -> None:
    """Without `fuse` a head may look at the layer's own output."""
    made = block(nn.GELU())
    given = torch.ones(1, 1, 32, dtype=torch.bfloat16)
    with torch.inference_mode():
        wanted = made.fc1(given)
        pack(made, fuse=False)
        assert torch.allclose(made.fc1(given).float(), wanted.float(), rtol=0.02, atol=0.02)
    assert type(made.act) is nn.GELU


@pytest.mark.parametrize(("activation", "behind"), [(nn.GELU(), False), (nn.SiLU(), True)], ids=["elsewhere", "another"])
def test_what_is_built_otherwise_is_not_fused(activation: Any, *, behind: bool) -> None:
    """An activation with a known name in another place, and one that oneDNN is not asked for: the block gives what it gave."""
    plain = block(activation, behind=behind)
    made = copy.deepcopy(plain)
    pack(made, fuse=True)
    assert near(plain, made)
    assert type(made.act) is type(activation)
    assert near(block(nn.GELU()), block(nn.SiLU())) is False, "the comparison tells activations apart"


def test_a_weight_can_be_had_back() -> None:
    """A network that reaches for it gets what it was, bit for bit."""
    layer = nn.Linear(48, 80).to(torch.bfloat16)
    assert not NATIVE or torch.equal(PackedLinear(layer).weight, layer.weight)


def test_what_is_no_plain_layer_stays() -> None:
    """float32, subclasses, and layers that somebody hooked into."""

    class Own(nn.Linear):  # type: ignore[misc]  # torch's types are not read
        """A subclass may do anything."""

    hooked = nn.Linear(32, 32).to(torch.bfloat16)
    hooked.register_forward_hook(lambda *_: None)
    made = nn.Sequential(nn.Linear(32, 32), Own(32, 32).to(torch.bfloat16), hooked)
    assert pack(made, fuse=True) == 0
    assert [type(one) for one in made] == [nn.Linear, Own, nn.Linear]


def test_a_torch_without_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not public: where they are gone, or refuse, the network runs as it is."""

    def refuse(_: Any) -> Any:
        raise RuntimeError("not compiled with oneDNN")

    monkeypatch.setattr(packing, "PackedLinear", refuse)
    made = block(nn.GELU())
    assert pack(made, fuse=True) == 0
    assert near(block(nn.GELU()), made)


def test_an_open_model_is_packed(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16, and its vectors are those of the same model unpacked; in float32 nothing is touched."""
    encoder = TransformersEncoder(str(build()))
    head, prepare = encoder.resolve(Head()), encoder.preparer("document")
    items = [prepare(text) for text in ("one", "some longer text with more words", "two words")]

    def vectors(precision: Any) -> tuple[Any, int]:
        with encoder.open(DeviceSpec(device="cpu", precision=precision)) as model:
            network: Any = model._network  # type: ignore[attr-defined]
            return model.forward(items, [head])[0], sum(type(one) is PackedLinear for one in network.modules())

    packed, count = vectors("bf16")
    assert (count > 0) is NATIVE
    assert vectors("fp32")[1] == 0
    monkeypatch.setattr("connector.encoders.lanes.pack", lambda *_, **__: 0)
    plain, none = vectors("bf16")
    assert none == 0
    cosines = (packed * plain).sum(1) / np.linalg.norm(packed, axis=1) / np.linalg.norm(plain, axis=1)
    assert cosines.min() > 0.999
