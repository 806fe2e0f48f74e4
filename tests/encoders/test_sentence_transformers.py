"""Folders of sentence-transformers give what sentence-transformers itself gives: the library encodes the same texts in every test here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoders.sentence_modules import MODES
from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, identity
from connector.testing.encoders import check_encoder
from tests.encoders.conftest import WORDS
from tests.encoders.parity import agreement, check_parity
from tests.encoders.test_transformers import LONG, MINILM, minilm_folder, vectors

TEXTS = [" ".join(WORDS[:n]) for n in (1, 3, 7, 18)]
FAMILY = "transformers text (sentence-transformers)"


def upstream(folder: Path, texts: Sequence[str], role: str = "document") -> list[Any]:
    """What the library gives for a folder, on the CPU in float32."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32})
    encode = model.encode_query if role == "query" else model.encode_document
    return list(encode(list(texts), show_progress_bar=False, batch_size=3))


def saved(folder: Path, pooling: Any, *after: Any, include_prompt: bool = True, **options: Any) -> Path:
    """Saves a model folder through the library: its network, a pooling, and more modules after it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    network = Transformer(str(folder))
    modules = [network, Pooling(32, pooling, include_prompt=include_prompt), *after]
    target = folder.with_name(f"{folder.name}-saved")
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(target))
    return target


def dense(inputs: int, outputs: int, **options: Any) -> Any:
    """A Dense module of random weights."""
    import torch
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(11)
    return Dense(inputs, outputs, **options)


def normalize() -> Any:
    """A Normalize module."""
    from sentence_transformers.base.modules import Normalize

    return Normalize()


def test_minilm_equals_sentence_transformers() -> None:
    """The real all-MiniLM-L6-v2: long texts, other scripts and emoji give the library's numbers."""
    check_parity(FAMILY, TransformersEncoder(MINILM), LONG, upstream(minilm_folder(), LONG), words="all-MiniLM-L6-v2, mean")


@pytest.mark.parametrize("pooling", [*MODES, ("mean", "max"), ("cls", "mean")])
@pytest.mark.parametrize("kind", ["bert", "qwen3"])
def test_every_pooling_mode(build: Callable[..., Path], pooling: Any, kind: str) -> None:
    """Each mode that a Pooling module can state, and several at once in its order."""
    folder = saved(build(kind), pooling)
    check_parity(FAMILY, TransformersEncoder(str(folder)), TEXTS, upstream(folder, TEXTS), words=f"{kind}, {pooling}")


@pytest.mark.parametrize(
    "flags", [("cls_token", "mean_tokens", "max_tokens"), ("lasttoken",), ("weightedmean_tokens", "mean_sqrt_len_tokens")]
)
def test_flags_of_older_folders(build: Callable[..., Path], flags: tuple[str, ...]) -> None:
    """Folders of older versions state flags; several are joined in the library's order, whatever the file's."""
    folder = saved(build(), "mean")
    stated = {f"pooling_mode_{flag}": True for flag in reversed(flags)} | {"word_embedding_dimension": 32}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False, **stated}))
    check_parity(FAMILY, TransformersEncoder(str(folder)), TEXTS, upstream(folder, TEXTS), words=f"bert, flags {', '.join(flags)}")


def test_dense_modules(build: Callable[..., Path]) -> None:
    """Linear layers after the pooling, with and without bias, activation and residual, then Normalize, are part of the embedding."""
    import torch

    modules = [dense(64, 48), dense(48, 24, bias=False, activation_function=torch.nn.Identity()), dense(24, 24, use_residual=True)]
    modules += [dense(24, 20, use_residual=True, activation_function=torch.nn.GELU()), normalize()]
    folder = saved(build(), ("cls", "mean"), *modules)
    encoder = TransformersEncoder(str(folder))
    assert encoder.resolve(Head()) == Head("projected", "cls+mean", normalize=True)
    assert encoder.spec(Head()).dim == 20
    check_parity(FAMILY, encoder, TEXTS, upstream(folder, TEXTS), words="bert, cls+mean, four Dense, Normalize")
    check_encoder(lambda: TransformersEncoder(str(folder)), TEXTS)


def test_other_layers_of_a_model_with_dense_modules(build: Callable[..., Path]) -> None:
    """What stands before the projections can be taken too, by name, in the same pass; the projected layer has no other pooling."""
    folder, plain = saved(build(), "mean", dense(32, 16)), TransformersEncoder(str(build("bert", "plain")))
    encoder = TransformersEncoder(str(folder))
    assert encoder.spec(Head(layer="last")).dim == 32
    assert agreement(list(vectors(encoder, TEXTS, Head(layer="last"))), list(vectors(plain, TEXTS)))[1] <= 1e-6
    with pytest.raises(ConfigError, match="no pooling `cls`"):
        encoder.resolve(Head(pooling="cls"))


@pytest.mark.parametrize("role", ["document", "query"])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "lasttoken", "weightedmean"])
def test_a_prompt_left_out_of_the_pooling(build: Callable[..., Path], role: Any, pooling: str) -> None:
    """With `include_prompt: false` the prompt is read and not pooled, for both roles."""
    folder = saved(build(), pooling, include_prompt=False, prompts={"query": "find near ", "document": "the "})
    encoder = TransformersEncoder(str(folder))
    prepare = encoder.preparer(role)
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        [found] = model.forward([prepare(text) for text in TEXTS], [encoder.resolve(Head())])
    assert agreement(list(found), upstream(folder, TEXTS, role))[1] <= 1e-4
    assert encoder.model.preprocessing["prompt_pooled"] is False
    stated = TransformersEncoder(str(folder), query_prompt="", document_prompt="")
    assert "prompt_pooled" not in stated.model.preprocessing
    assert agreement(list(found), list(vectors(stated, TEXTS)))[0] < 0.9999


def test_the_token_matrix_is_what_the_library_gives(build: Callable[..., Path]) -> None:
    """Pooling none gives every token's vector, special tokens and prompt included, neither projected nor scaled."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = saved(build(), "mean", normalize(), include_prompt=False, prompts={"document": "the "})
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    wanted = model.encode_document(TEXTS, output_value="token_embeddings", show_progress_bar=False)
    encoder = TransformersEncoder(str(folder))
    check_parity(FAMILY, encoder, TEXTS, [one.numpy() for one in wanted], Head(pooling="none"), words="bert, none")


def test_lengths_prompts_and_case(build: Callable[..., Path]) -> None:
    """max_seq_length, prompts of both roles and do_lower_case are followed."""
    folder = saved(build(), "mean", normalize(), prompts={"query": "find near ", "document": "the "})
    stated = json.loads((folder / "sentence_bert_config.json").read_text())
    (folder / "sentence_bert_config.json").write_text(json.dumps({**stated, "max_seq_length": 12, "do_lower_case": True}))
    texts = [*TEXTS, "THE CAT Sat " * 9]
    encoder = TransformersEncoder(str(folder))
    check_parity(FAMILY, encoder, texts, upstream(folder, texts), words="bert, mean, 12 tokens, prompt, lower case")
    prepare = encoder.preparer("query")
    assert [prepare(text).truncated for text in texts] == [False, False, False, True, True]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        [found] = model.forward([prepare(text) for text in texts], [encoder.resolve(Head())])
    assert agreement(list(found), upstream(folder, texts, "query"))[1] <= 1e-4


def test_truncated_dimensions(build: Callable[..., Path]) -> None:
    """truncate_dim of the folder is the default; a normalised vector has unit length after the cut, too."""
    folder = saved(build(), "mean", normalize(), truncate_dim=8)
    encoder = TransformersEncoder(str(folder))
    wanted = np.stack(upstream(folder, TEXTS))
    assert encoder.spec(Head()).dim == wanted.shape[1] == 8
    check_parity(FAMILY, encoder, TEXTS, list(wanted / np.linalg.norm(wanted, axis=1, keepdims=True)), words="bert, mean, 8 of 32 numbers")


def test_what_is_stated_enters_the_identity(build: Callable[..., Path]) -> None:
    """Pooling, projection weights, normalisation, length and prompt change it; a moved folder does not."""
    folder = saved(build(), "mean", dense(32, 16), normalize(), include_prompt=False, prompts={"document": "the "})
    changes: dict[str, dict[str, Any] | None] = {
        "1_Pooling/config.json": {"pooling_mode": "cls"},
        "config_sentence_transformers.json": {"prompts": {"document": "a "}},
        "sentence_bert_config.json": {"max_seq_length": 9},
        "modules.json": None,
        "2_Dense/model.safetensors": None,
    }
    seen = [identity(TransformersEncoder(str(folder)), Head())]
    for number, (name, change) in enumerate(changes.items()):
        copy = Path(shutil.copytree(folder, folder.parent / f"at{number}" / folder.name))
        assert identity(TransformersEncoder(str(copy)), Head()) == seen[0]
        path = copy / name
        if change is not None:
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        elif name == "modules.json":
            path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
        else:
            path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        seen.append(identity(TransformersEncoder(str(copy)), Head()))
    assert len({json.dumps(one, sort_keys=True) for one in seen}) == len(seen)


def break_projection(folder: Path, how: str) -> None:
    """Makes the projection's folder what it must not be."""
    import torch

    file, config = folder / "2_Dense" / "model.safetensors", folder / "2_Dense" / "config.json"
    stated = json.loads(config.read_text())
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:100])
    elif how == "other shape":
        config.write_text(json.dumps({**stated, "out_features": 17}))
    elif how == "pickled":
        torch.save({"linear.weight": torch.zeros(16, 32), "linear.bias": torch.zeros(16)}, folder / "2_Dense" / "pytorch_model.bin")
        file.unlink()
    elif how == "missing":
        file.unlink()
    elif how == "unknown activation":
        config.write_text(json.dumps({**stated, "activation_function": "torch.nn.modules.activation.Tahn"}))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "2_Dense/model.safetensors cannot be read"),
        ("other shape", "not those that its config.json states"),
        ("pickled", "is pickled"),
        ("missing", "no weights"),
        ("unknown activation", "no activation Tahn"),
    ],
)
def test_broken_projections_are_refused(build: Callable[..., Path], how: str, words: str) -> None:
    """A projection whose weights are missing, cut off, pickled or of another shape ends in words, not in wrong vectors."""
    folder = saved(build(), "mean", dense(32, 16))
    break_projection(folder, how)
    with pytest.raises(ConfigError, match=words), TransformersEncoder(str(folder)).open(DeviceSpec(device="cpu")):
        pytest.fail("opened")


def test_pickled_projections_of_trusted_files(build: Callable[..., Path]) -> None:
    """Whoever allows pickled weights gets those of the projection, too."""
    folder = saved(build(), "mean", dense(32, 16))
    break_projection(folder, "pickled")
    with TransformersEncoder(str(folder)).open(DeviceSpec(device="cpu", allow_pickle_weights=True)) as model:
        assert model.precision in {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("2_Dense/config.json", {"activation_function": "my.own.Thing"}, "activation my.own.Thing"),
        ("2_Dense/config.json", {"in_features": None}, "states no dimensions"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "works on tokens"),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "median"]}, "pools by mean \\+ median"),
        ("sentence_bert_config.json", {"transformer_task": "sequence-classification"}, "gives last_hidden_state"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method_output_name": "pooler_output"}}}, "gives pooler_output"),
    ],
)
def test_what_cannot_be_done_is_refused(build: Callable[..., Path], file: str, change: dict[str, Any], words: str) -> None:
    """A module that this encoder lacks is refused before anything is encoded, never left out."""
    folder = saved(build(), "mean", dense(32, 16))
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(ConfigError, match=words):
        TransformersEncoder(str(folder))


def test_modules_out_of_order_are_refused(build: Callable[..., Path]) -> None:
    """Normalising before a projection is another model than after it."""
    folder = saved(build(), "mean", normalize(), dense(32, 16))
    with pytest.raises(ConfigError, match="Transformer, Pooling, Normalize, Dense"):
        TransformersEncoder(str(folder))
