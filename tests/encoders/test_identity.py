"""What makes vectors comparable: every change of it is refused and named, at ingest and at search; where a model lies is not part of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders.transformers import TransformersEncoder
from connector.errors import PlanNeeded
from connector.interfaces import DeviceSpec, Head, identity
from connector.record import generated_key
from connector.schema import Collection, Field, Vector, VectorField
from tests.encoders.conftest import Build, build_model, write_sentence_transformers

ROWS: list[dict[str, Any]] = [{"id": "a", "title": "the cat sat"}, {"id": "b", "title": "red green blue"}]


def declared(model: Path, **options: Any) -> type[Collection]:
    """A collection of titles encoded by the model in a folder."""

    class Docs(Collection):
        id: str = Field(primary_key=True, max_length=8)
        title: str = Field(max_length=20)
        vector: Vector = VectorField(**{"dim": 32, "encoder": f"transformers:{model}", "source": "title", **options})

    return Docs


def reweighted(folder: Path) -> None:
    """Other random weights of the same shapes."""
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    safetensors.torch.save_file({name: one + 0.01 for name, one in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


def retokenised(folder: Path) -> None:
    """A tokenizer with one more normalisation."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(tokenizer))


CHANGES: list[tuple[str, Callable[[Path], None] | None, dict[str, Any]]] = [
    ("encoder model.weights", reweighted, {}),
    ("encoder model.preprocessing.tokenizer", retokenised, {}),
    ("encoder model.preprocessing.max_tokens", None, {"max_tokens": 20}),
    ("encoder model.preprocessing.prompts.query", None, {"query_prompt": "the "}),
    ("encoder model.preprocessing.prompts.document", None, {"document_prompt": "the "}),
    ("encoder head.pooling", None, {"pooling": "max"}),
    ("encoder head.normalize", None, {"normalize": True}),
    ("encoder head.layer", None, {"layer": "1"}),
    ("encoder head.truncate_dim", None, {"truncate_dim": 16, "dim": 16}),
]


@pytest.mark.parametrize(("named", "change", "options"), CHANGES, ids=[name for name, _, _ in CHANGES])
def test_a_change_is_refused_and_named(build: Build, named: str, change: Callable[[Path], None] | None, options: dict[str, Any]) -> None:
    """No run mixes two encoders, and the message says what differs; a search takes the one that wrote the vectors, or none at all."""
    folder = build()
    connector.run(ROWS, into=declared(folder), milvus="docs.db")
    if change:
        change(folder)
    with pytest.raises(PlanNeeded, match=f"vector: {named} .* live, .* in code"):
        connector.run([*ROWS, {"id": "c", "title": "a dog"}], into=declared(folder, **options), milvus="docs.db")
    if change is None:
        assert connector.search(declared(folder, **options), "the cat sat", milvus="docs.db", limit=1)[0].distance == pytest.approx(
            1, abs=1e-3
        )
        return
    with pytest.raises(PlanNeeded, match="another encoder: .*" + named.removeprefix("encoder ").split(".")[1]):
        connector.search(declared(folder, **options), "the cat sat", milvus="docs.db")


def test_a_model_that_moved_is_the_same(build: Build) -> None:
    """A renamed or copied folder has the same weights, so nothing is encoded again and searches go on."""
    folder = build()
    connector.run(ROWS, into=declared(folder), milvus="docs.db")
    moved = folder.rename(folder.with_name("elsewhere"))
    report = connector.run([*ROWS, {"id": "c", "title": "a dog"}], into=declared(moved), milvus="docs.db")
    assert (report.counts.unchanged, report.counts.written) == (2, 1)
    assert connector.search(declared(moved), "a dog", milvus="docs.db", limit=1)[0].id == "c"
    assert str(folder) not in json.dumps(identity(TransformersEncoder(str(moved)), Head()))


def test_a_folder_of_other_settings_is_another_encoder(tmp_path: Path) -> None:
    """What the folder itself states, such as its pooling, counts like what a schema states."""
    folder = tmp_path / "model"
    folder.mkdir()
    plain = identity(TransformersEncoder(str(build_model(folder))), Head())
    write_sentence_transformers(folder, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, normalize=True)
    stated = identity(TransformersEncoder(str(folder)), Head())
    assert (plain["head"]["pooling"], stated["head"]["pooling"]) == ("mean", "cls")
    assert plain["model"] == stated["model"]


def test_a_row_a_token(build: Build) -> None:
    """The token matrix in rows: each token of a title has its own vector, that of the SDK's matrix."""

    class Tokens(Collection):
        id: str = Field(primary_key=True, generated=True)
        title: str = Field(max_length=20)
        position: int
        token: Vector = VectorField(dim=32, encoder=f"transformers:{build()}", source="title", pooling="none")

    device = {"token": {"precision": "fp32"}}
    report = connector.run([{"n": "a", "title": "the cat sat"}], into=Tokens, milvus="t.db", key="n", encode=device)
    assert report.rows.upserted == 5
    with connector.encoder(f"transformers:{build(name='again')}", pooling="none", device=DeviceSpec(precision="fp32")) as encoder:
        matrix = encoder.encode(["the cat sat"])[0]
    key = generated_key("tokens", "a", 2)
    hits = connector.search(Tokens, connector.Key(key), milvus="t.db", limit=5)
    assert (hits[0].id, hits[0].fields["position"]) == (key, 2)
    cosines = matrix @ matrix[2] / np.linalg.norm(matrix, axis=1) / np.linalg.norm(matrix[2])
    assert [hit.fields["position"] for hit in hits] == list(np.argsort(-cosines))
    np.testing.assert_allclose([hit.distance for hit in hits], np.sort(cosines)[::-1], atol=1e-5)
