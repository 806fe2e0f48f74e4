"""Every layer and every pooling of a text model agrees with transformers' own hidden states, and costs one pass however many are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders.text_model import TextModel
from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, identity
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.encoders import check_encoder
from tests.encoders.conftest import WORDS
from tests.encoders.parity import agreement, check_parity

TEXTS = [" ".join(WORDS[:n]) for n in (1, 3, 7, 18)]
KINDS = ["bert", "distilbert", "roberta", "mpnet", "data2vec-text", "modernbert", "qwen3", "gemma3"]

LAYERS: dict[str, Callable[[Any], Any]] = {
    "last": lambda states: states[-1],
    "0": lambda states: states[0],
    "1": lambda states: states[1],
    "last:2": lambda states: (states[-1] + states[-2]) / 2,
}
POOLS: dict[str, Callable[[Any], Any]] = {
    "cls": lambda hidden: hidden[0],
    "last": lambda hidden: hidden[-1],
    "max": lambda hidden: hidden.amax(0),
    "mean": lambda hidden: hidden.mean(0),
    "none": lambda hidden: hidden,
}


def states_of(folder: Path, texts: list[str]) -> list[Any]:
    """The hidden states of each text alone, without padding, by transformers' own classes: embeddings first, `last_hidden_state` last."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        outputs = [model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True) for text in texts]
    return [[*(state[0] for state in output.hidden_states[:-1]), output.last_hidden_state[0]] for output in outputs]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_and_pooling_equals_transformers(build: Callable[..., Path], kind: str) -> None:
    """Four layers, five poolings, eight architectures: the numbers are the library's, in float32 and bfloat16."""
    folder = build(kind)
    encoder, states = TransformersEncoder(str(folder)), states_of(folder, TEXTS)
    for layer, take in LAYERS.items():
        wanted = [POOLS["mean"](take(one)).numpy() for one in states]
        check_parity("transformers text", encoder, TEXTS, wanted, Head(layer=layer), words=f"{kind}, layer {layer}, mean")
    for pooling, pool in POOLS.items():
        wanted = [pool(one[-1]).numpy() for one in states]
        check_parity("transformers text", encoder, TEXTS, wanted, Head(pooling=pooling), words=f"{kind}, {pooling}")


@pytest.mark.parametrize("kind", ["data2vec-text", "modernbert", "qwen3", "gemma3"])
def test_newer_kinds_keep_the_contract(build: Callable[..., Path], kind: str) -> None:
    """They pass the contract check, and an over-long text is cut to the positions there are."""
    folder = str(build(kind))
    check_encoder(lambda: TransformersEncoder(folder), TEXTS)
    assert TransformersEncoder(folder).preparer("document")("cat " * 500).cost == 64


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (None, "last"),
        ("last", "last"),
        ("2", "last"),
        ("-1", "last"),
        ("-2", "1"),
        ("-3", "0"),
        ("1", "1"),
        ("last:1", "last"),
        ("last:2", "last:2"),
    ],
)
def test_a_layer_has_one_name(build: Callable[..., Path], written: str | None, canonical: str) -> None:
    """However a layer is written, its identity is the same, so the stamp does not change with the spelling."""
    encoder = TransformersEncoder(str(build()))
    assert encoder.resolve(Head(layer=written)) == Head(canonical, "mean", normalize=False)
    assert identity(encoder, Head(layer=written)) == identity(encoder, Head(layer=canonical))
    assert encoder.resolve(encoder.resolve(Head(layer=written))) == encoder.resolve(Head(layer=written))


@pytest.mark.parametrize("layer", ["3", "-4", "last:3", "last:0", "encoder", "first"])
def test_unknown_layers_are_refused(build: Callable[..., Path], layer: str) -> None:
    """A layer that the model does not have is refused with those that it has."""
    with pytest.raises(ConfigError, match="no layer") as caught:
        TransformersEncoder(str(build())).resolve(Head(layer=layer))
    assert "valid: 0, 1, last, last:2" in caught.value.hint


def test_layers_are_different_identities(build: Callable[..., Path]) -> None:
    """Each layer and pooling is another head, so vectors of two are never mixed."""
    encoder = TransformersEncoder(str(build()))
    heads = [Head(layer=layer, pooling=pooling) for layer in LAYERS for pooling in ("cls", "mean", "cls+mean")]
    assert len({repr(identity(encoder, head)) for head in heads}) == len(heads)
    assert [encoder.spec(Head(pooling=pooling)).dim for pooling in ("mean", "cls+mean", "none")] == [32, 64, 32]


@pytest.mark.parametrize("pooling", ["cls+none", "cls+cls", "mean+men", "+", "cls+"])
def test_poolings_that_cannot_be_joined_are_refused(build: Callable[..., Path], pooling: str) -> None:
    """Only poolings that give one vector are joined, each once."""
    with pytest.raises(ConfigError, match="no pooling"):
        TransformersEncoder(str(build())).resolve(Head(pooling=pooling))


def counted(model: Any) -> list[dict[str, Any]]:
    """Wraps the network of an open model: each call's keyword arguments are noted."""
    calls: list[dict[str, Any]] = []
    network = model._network

    def forward(*args: Any, **options: Any) -> Any:
        calls.append(options)
        return type(network).forward(network, *args, **options)

    network.forward = forward
    return calls


def test_many_heads_are_one_pass(build: Callable[..., Path]) -> None:
    """Three layer taps, two poolings and the token matrix of one input cost one call of the network, and give what each gives alone."""
    encoder = TransformersEncoder(str(build()))
    heads = [encoder.resolve(one) for one in (Head(), Head(layer="0"), Head(layer="1"), Head(pooling="cls"), Head(pooling="none"))]
    prepare = encoder.preparer("document")
    items = [prepare(text) for text in TEXTS]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=1000)) as model:
        calls = counted(model)
        together = model.forward(items, heads)
        assert [call["output_hidden_states"] for call in calls] == [True]
        alone = [model.forward(items, [head])[0] for head in heads]
    assert [call["output_hidden_states"] for call in calls] == [True, False, True, True, False, False]
    for one, other in zip(together, alone, strict=True):
        assert agreement(list(one), list(other))[1] <= 1e-6


def test_layers_in_many_threads(build: Callable[..., Path]) -> None:
    """Parts that go through the network at the same time do not take each other's hidden states."""
    encoder = TransformersEncoder(str(build("modernbert")))
    head = encoder.resolve(Head(layer="1"))
    prepare = encoder.preparer("document")
    items = [prepare(text) for text in TEXTS] * 100
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=40)) as model:
        [many] = model.forward(items, [head])
        alone = np.concatenate([model.forward([item], [head])[0] for item in items[:4]])
    assert agreement(list(many), list(alone) * 100)[1] <= 1e-5


def test_a_model_without_a_stated_depth_has_one_layer(build: Callable[..., Path]) -> None:
    """Where config.json does not say how many blocks there are, no layer can be named by number."""
    import json

    folder = build()
    config = json.loads((folder / "config.json").read_text())
    del config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    encoder = TransformersEncoder(str(folder))
    assert encoder.resolve(Head(layer="last")).layer == "last"
    with pytest.raises(ConfigError, match="no layer `1`"):
        encoder.resolve(Head(layer="1"))


def test_three_fields_of_a_run_are_one_pass(build: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection with three heads of one model calls its network as often as a collection with one, and holds what each head gives."""
    model = f"transformers:{build()}"

    class Three(Collection):
        sku: str = Field(primary_key=True, max_length=8)
        text: str = Field(max_length=200)
        meaning: Vector = VectorField(dim=32, encoder=model, source="text")
        middle: Vector = VectorField(dim=32, encoder=model, source="text", layer="1")
        both: Vector = VectorField(dim=64, encoder=model, source="text", layer="-1", pooling="cls+max")

    calls = []
    heads_of = TextModel._heads

    def counting(self: TextModel, inputs: Any, read: Any, heads: Any) -> Any:
        calls.append(len(heads))
        return heads_of(self, inputs, read, heads)

    monkeypatch.setattr(TextModel, "_heads", counting)
    monkeypatch.setattr("connector.encoding.probing.inputs", lambda *_: ())  # the probe has passes of its own
    place = str(tmp_path / "three.db")
    report = connector.run(({"sku": str(number), "text": text} for number, text in enumerate(TEXTS)), into=Three, milvus=place)
    assert (report.counts.written, report.encoded, set(calls)) == (4, 4, {3})
    passes = len(calls)
    calls.clear()
    connector.encoder(model).encode(TEXTS)
    assert len(calls) == passes
    for field in ("meaning", "middle", "both"):
        assert connector.search(Three, TEXTS[2], field=field, milvus=place, limit=1)[0].id == "2"
