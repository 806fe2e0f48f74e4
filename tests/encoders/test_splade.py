"""Sparse vectors of masked language models are those of sentence-transformers' SparseEncoder, and of the published formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders.splade import SpladeEncoder
from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError, SchemaError
from connector.interfaces import DeviceSpec, Head, VectorSpec, identity
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.encoders import check_encoder
from tests.encoders.conftest import WORDS
from tests.encoders.parity import agreement, check_parity, dense
from tests.encoders.test_text_layers import counted

TEXTS = [" ".join(WORDS[:n]) for n in (1, 3, 7, 18)]
SIZE = 4 + len(WORDS)


def saved(folder: Path, *, maximum: int | None = None, **options: Any) -> Path:
    """Saves a SPLADE folder through the library."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    modules = [Transformer(str(folder), transformer_task="fill-mask"), SpladePooling(**options)]
    target = folder.with_name(f"{folder.name}-saved")
    SparseEncoder(modules=modules, device="cpu", max_active_dims=maximum).save(str(target))
    return target


def upstream(folder: Path, texts: list[str]) -> list[Any]:
    """What the library gives for a folder, in float32, as arrays over the whole vocabulary."""
    import torch
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32})
    found = model.encode_document(texts, convert_to_sparse_tensor=False, show_progress_bar=False, batch_size=3)
    return [np.asarray(one) for one in found]


@pytest.mark.parametrize("kind", ["masked-bert", "masked-distilbert", "masked-roberta", "masked-modernbert"])
@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_folders_equal_the_library(build: Callable[..., Path], kind: str, strategy: Any, activation: Any) -> None:
    """Every strategy and activation that a SpladePooling can state, for four architectures."""
    folder = saved(build(kind), pooling_strategy=strategy, activation_function=activation)
    encoder = SpladeEncoder(str(folder))
    assert encoder.resolve(Head()) == Head(activation, strategy, normalize=False, dtype="sparse")
    wanted = upstream(folder, TEXTS)
    assert 0 < min(np.count_nonzero(one) for one in wanted) < SIZE
    check_parity("splade", encoder, TEXTS, wanted, words=f"{kind}, {strategy}, {activation}", width=SIZE)


def test_folders_of_older_versions(build: Callable[..., Path]) -> None:
    """The layout of the first SPLADE folders, such as the authors' own, is read as the library reads it."""
    folder = saved(build("masked-bert"))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8, "do_lower_case": False}))
    kinds = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.sparse_encoder.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    stated = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": None}
    (folder / "1_SpladePooling" / "config.json").write_text(json.dumps(stated))
    check_parity(
        "splade", SpladeEncoder(str(folder)), TEXTS, upstream(folder, TEXTS), words="masked-bert, older layout, 8 tokens", width=SIZE
    )


def test_a_plain_folder_follows_the_formula(build: Callable[..., Path]) -> None:
    """A folder of transformers alone gives log(1 + relu(logit)), the largest over the positions, as the authors' own code has it."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = build("masked-bert")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    wanted = [torch.log1p(torch.relu(one)).max(dim=0).values.numpy() for one in logits]
    check_parity("splade", SpladeEncoder(str(folder)), TEXTS, wanted, words="BERT, the authors' formula", width=SIZE)
    check_encoder(lambda: SpladeEncoder(str(folder)), TEXTS)


def test_the_largest_weights_are_kept(build: Callable[..., Path]) -> None:
    """max_active_dims of the folder, and truncate_dim of a head, keep the largest weights; normalising is of what is kept."""
    folder = saved(build("masked-bert"), maximum=5)
    encoder = SpladeEncoder(str(folder))
    assert encoder.resolve(Head()).truncate_dim == 5
    check_parity("splade", encoder, TEXTS, upstream(folder, TEXTS), words="masked-bert, max, 5 weights", width=SIZE)
    found = connector.encoder(f"splade:{folder}", truncate_dim=2, normalize=True).encode(TEXTS)
    assert [len(one) for one in found] == [2] * len(TEXTS)
    assert [sum(weight**2 for weight in one.values()) for one in found] == pytest.approx([1.0] * len(TEXTS), abs=1e-5)
    everything = connector.encoder(f"splade:{folder}", truncate_dim=SIZE).encode(TEXTS)
    for few, whole in zip(found, everything, strict=True):
        assert set(few) == set(sorted(whole, key=lambda token: -whole[token])[:2])


def test_dense_and_sparse_are_one_pass(build: Callable[..., Path]) -> None:
    """Sparse weights and pooled hidden states of one masked language model cost one call of the network, and are what each is alone."""
    folder = build("masked-bert")
    encoder = SpladeEncoder(str(folder))
    heads = [encoder.resolve(one) for one in (Head(), Head(layer="last", pooling="mean"), Head(layer="1", pooling="cls"))]
    assert [encoder.spec(head).kind for head in heads] == ["sparse", "dense", "dense"]
    prepare = encoder.preparer("document")
    items = [prepare(text) for text in TEXTS]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=1000)) as model:
        calls = counted(model)
        sparse, mean, _ = model.forward(items, heads)
        assert [call["output_hidden_states"] for call in calls] == [True]
        [alone] = model.forward(items, heads[:1])
        assert calls[-1]["output_hidden_states"] is False
    assert agreement([dense(one, SIZE) for one in sparse], [dense(one, SIZE) for one in alone])[1] <= 1e-6
    plain = TransformersEncoder(str(folder))
    with plain.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        [wanted] = model.forward(items, [plain.resolve(Head())])
    assert agreement(list(mean), list(wanted))[1] <= 1e-5


def test_identity(build: Callable[..., Path]) -> None:
    """Strategy, activation and number of weights are part of the identity; it is none of the dense encoder's; float32 means sparse."""
    folder = str(build("masked-bert"))
    encoder = SpladeEncoder(folder)
    heads = [Head(), Head(pooling="sum"), Head(layer="log1p_relu"), Head(truncate_dim=3), Head(layer="last", pooling="mean")]
    assert len({repr(identity(encoder, head)) for head in heads}) == len(heads)
    assert identity(encoder, Head(dtype="sparse")) == identity(encoder, Head()) == identity(encoder, Head("relu", "max", truncate_dim=SIZE))
    assert encoder.spec(Head()) == VectorSpec("sparse", None, "sparse")
    assert encoder.model.kind == "splade"
    assert encoder.model.weights == TransformersEncoder(folder).model.weights


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (Head(pooling="mean"), "no pooling `mean`"),
        (Head(layer="logits"), "no layer `logits`"),
        (Head(dtype="float16"), "no dtype `float16`"),
        (Head(layer="last", dtype="sparse"), "no dtype `sparse`"),
        (Head(truncate_dim=SIZE + 1), "wanted 1 to 24"),
    ],
)
def test_unknown_heads_are_refused(build: Callable[..., Path], head: Head, words: str) -> None:
    """What the model cannot give is refused with what it can."""
    with pytest.raises(ConfigError, match=words):
        SpladeEncoder(str(build("masked-bert"))).resolve(head)


def test_folders_that_are_no_splade_are_refused(build: Callable[..., Path]) -> None:
    """A model without its masked-language head, another activation, and a SPLADE folder under `transformers` end in words."""
    with pytest.raises(ConfigError, match="not this model's"), SpladeEncoder(str(build("bert", "plain"))).open(DeviceSpec()):
        pytest.fail("opened")
    folder = saved(build("masked-bert"))
    with pytest.raises(ConfigError, match="gives sparse vectors") as caught:
        TransformersEncoder(str(folder))
    assert "splade:" in caught.value.hint
    path = folder / "1_SpladePooling" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "activation_function": "gelu"}))
    with pytest.raises(ConfigError, match="activation_function gelu"):
        SpladeEncoder(str(folder))


def collection(folder: Path) -> type[Collection]:
    """Sparse and dense vectors of one model."""

    class Notes(Collection):
        sku: str = Field(primary_key=True, max_length=8)
        text: str = Field(max_length=200)
        words: Vector = VectorField(encoder=f"splade:{folder}", dtype="sparse")
        meaning: Vector = VectorField(encoder=f"splade:{folder}", source="text", layer="last", pooling="mean", dim=32)

    return Notes


def test_into_milvus_and_found_by_words(build: Callable[..., Path], tmp_path: Path) -> None:
    """Rows are written with both vectors, each encoded once; a search by words finds what the product of the weights says, also fused."""
    folder = build("masked-bert")
    texts = [" ".join(WORDS[start : start + 5]) for start in range(12)]
    rows = [{"sku": str(number), "text": text} for number, text in enumerate(texts)]
    options: dict[str, Any] = {"milvus": str(tmp_path / "a.db"), "encode": {name: {"precision": "fp32"} for name in ("words", "meaning")}}
    report = connector.run(rows, into=collection(folder), **options)
    assert (report.counts.written, report.encoded) == (12, 12)
    handle = connector.encoder(f"splade:{folder}", device=DeviceSpec(precision="fp32"))
    stored, [query] = [dense(one, SIZE) for one in handle.encode(texts)], handle.encode(["red milvus"], role="query")
    scores = np.asarray(stored) @ dense(query, SIZE)
    hits = connector.search(collection(folder), "red milvus", field="words", limit=3, **options)
    assert [hit.id for hit in hits] == [str(number) for number in np.argsort(-scores)[:3]]
    assert [hit.distance for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:3], rel=1e-4)
    alone = {hit.id: hit.distance for hit in connector.search(collection(folder), "red milvus", field="meaning", limit=12, **options)}
    both = connector.search(collection(folder), "red milvus", fields=["words", "meaning"], limit=12, **options)
    assert {hit.id: hit.by_field["meaning"] for hit in both} == pytest.approx(alone, rel=1e-4)
    found = {hit.id: hit.by_field["words"] for hit in both if "words" in hit.by_field}
    assert found == pytest.approx({key: scores[int(key)] for key in found}, rel=1e-4)
    assert found


def test_a_dense_field_does_not_take_sparse_vectors(build: Callable[..., Path], tmp_path: Path) -> None:
    """The mistake is named before anything is written."""
    folder = build("masked-bert")

    class Wrong(Collection):
        sku: str = Field(primary_key=True, max_length=8)
        text: Vector = VectorField(encoder=f"splade:{folder}", dim=32)

    with pytest.raises(SchemaError, match=r"wants dense vectors, encoder splade:.* gives sparse ones"):
        connector.run([{"sku": "1", "text": "cat"}], into=Wrong, milvus=str(tmp_path / "a.db"))
