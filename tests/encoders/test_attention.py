"""Keys that are filled up change no result, and where they might, nothing is filled up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from connector.encoders import attention
from connector.encoders.transformers import TransformersEncoder
from connector.interfaces import DeviceSpec
from tests.encoders.conftest import Build

KINDS = ("bert", "roberta", "distilbert", "modernbert", "qwen3")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys torch was given, call by call, on a processor with AVX-512 or as if on one."""
    monkeypatch.setattr(attention, "WIDTH", 16)
    seen: list[int] = []

    def noting(module: Any, query: Any, key: Any, *rest: Any, **options: Any) -> Any:
        seen.append(key.shape[2])
        return sdpa_attention_forward(module, query, key, *rest, **options)

    monkeypatch.setattr(attention, "sdpa_attention_forward", noting)
    return seen


def network(**options: Any) -> Any:
    """A small BERT in float32."""
    torch.manual_seed(5)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}
    return transformers.AutoModel.from_config(transformers.BertConfig(**shape), **options).eval()


def plain(query: Any, key: Any, value: Any, allowed: Any) -> Any:
    """Attention by its definition: (n, heads, positions, width) in, (n, positions, heads, width) out."""
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    return (scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 17, 20, 31, 32, 36, 47])
@pytest.mark.parametrize("kind", ["none", "bool", "float"])
def test_attention_is_what_it_is_by_definition(count: int, kind: str, keys: list[int]) -> None:
    """For any number of keys and any mask, in float32; torch gets whole vectors of keys where enough would be left over."""
    torch.manual_seed(count)
    query, key, value = (torch.randn(3, 2, count, 8) for _ in range(3))
    allowed = torch.ones(3, 1, count, count, dtype=torch.bool)
    if kind != "none":
        allowed[1, :, :, count // 2 + 1 :] = False
        allowed[2] = torch.ones(count, count, dtype=torch.bool).tril()
    mask = {"none": None, "bool": allowed, "float": torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)}[kind]
    found, _ = attention._attention(SimpleNamespace(is_causal=False), query, key, value, mask)
    torch.testing.assert_close(found, plain(query, key, value, allowed), rtol=1e-5, atol=1e-6)
    left = count % attention.WIDTH
    assert keys == [count if left < attention.LEAST else count - left + attention.WIDTH]


def test_a_mask_by_place_stays(keys: list[int]) -> None:
    """Torch masks what comes later by the places of keys: they stay as they are."""
    query, key, value = (torch.randn(1, 2, 23, 8) for _ in range(3))
    found, _ = attention._attention(SimpleNamespace(is_causal=True), query, key, value, None)
    torch.testing.assert_close(found, plain(query, key, value, torch.ones(23, 23, dtype=torch.bool).tril()), rtol=1e-5, atol=1e-6)
    assert keys == [23]


def test_each_mask_is_its_own() -> None:
    """Masks of one shape, in turn: none is taken for the one before."""
    query, key, value = (torch.randn(1, 2, 6, 8) for _ in range(3))
    for count in (1, 4, 2, 6):
        allowed = (torch.arange(6) < count).expand(1, 1, 6, 6).clone()
        found, _ = attention._attention(SimpleNamespace(is_causal=False), query, key, value, allowed)
        torch.testing.assert_close(found, plain(query, key, value, allowed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_models_use_it(kind: str, build: Build, keys: list[int]) -> None:
    """What is opened gives torch filled keys, where its attention is transformers' own."""
    folder: Path = build(kind)
    with TransformersEncoder(str(folder)).open(DeviceSpec("cpu", "fp32")) as model:
        model._network(input_ids=torch.ones(2, 7, dtype=torch.long), attention_mask=torch.tensor([[1] * 7, [1] * 4 + [0] * 3]))  # type: ignore[attr-defined]
    assert keys
    assert set(keys) == {16}


def test_an_attention_of_their_own_stays(build: Build, keys: list[int]) -> None:
    """MPNet adds a bias for the distance of two positions, in code of its own; a network may also have been asked for another one."""
    with TransformersEncoder(str(build("mpnet"))).open(DeviceSpec("cpu", "fp32")) as model:
        model._network(input_ids=torch.ones(2, 7, dtype=torch.long))  # type: ignore[attr-defined]
    assert not keys
    one = network(attn_implementation="eager")
    assert attention.fill(one) is False
    assert one.config._attn_implementation == "eager"


@pytest.mark.parametrize("wrong", ["numbers", "error"])
def test_a_network_that_then_gives_anything_else_keeps_its_own(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared on two short inputs, before anything is encoded."""
    inputs = {"input_ids": torch.arange(12).reshape(2, 6)}
    one = network()
    with torch.inference_mode():
        wanted = one(**inputs).last_hidden_state

    def broken(module: Any, query: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        if wrong == "error":
            raise KeyError("attention")
        return torch.zeros_like(query.transpose(1, 2)), None

    monkeypatch.setattr(attention, "WIDTH", 16)
    monkeypatch.setattr(attention, "_attention", broken)
    assert attention.fill(one) is False
    with torch.inference_mode():
        assert torch.equal(one(**inputs).last_hidden_state, wanted)


def test_a_network_that_wants_other_inputs_keeps_its_own() -> None:
    """One that cannot be asked is left as it was: what it lacks is told when it is used."""
    torch.manual_seed(5)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": 50}
    one = transformers.AutoModel.from_config(transformers.T5Config(**shape), attn_implementation="sdpa").eval()
    assert attention.fill(one) is False
    assert one.config._attn_implementation == "sdpa"
