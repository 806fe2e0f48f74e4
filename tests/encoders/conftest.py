"""Builds small random models in the format that save_pretrained writes, so that tests need no download."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "red", "green", "blue"]
WORDS += ["milvus", "vector", "database", "stores", "finds", "near", "points", "over", "and", "under"]
Build = Callable[..., Path]


def write_tokenizer(folder: Path, *, pad_first: bool = True) -> None:
    """A tokenizer.json of words, with the special tokens of BERT (padding is 0) or of RoBERTa (padding is 1)."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if pad_first else ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=special[1 if pad_first else 3]))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_sentence_transformers(folder: Path, pooling: dict[str, Any] | None, *, normalize: bool, more: tuple[str, ...] = ()) -> None:
    """The files that sentence-transformers puts beside a model."""
    kinds = ["Transformer", *(["Pooling"] if pooling is not None else []), *(["Normalize"] if normalize else []), *more]
    modules = [
        {"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "", "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def build_model(folder: Path, kind: str = "bert") -> Path:
    """A random model of 32 numbers and two layers: bert, distilbert, roberta or mpnet."""
    import torch
    import transformers

    torch.manual_seed(7)
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    positions = 64 if kind in {"bert", "distilbert"} else 66
    common: dict[str, Any] = {"vocab_size": 4 + len(WORDS), "max_position_embeddings": positions}
    configs: dict[str, Callable[[], Any]] = {
        "bert": lambda: transformers.BertConfig(**common, **wide),
        "distilbert": lambda: transformers.DistilBertConfig(**common, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
        "roberta": lambda: transformers.RobertaConfig(**common, **wide, pad_token_id=1, bos_token_id=0, eos_token_id=2),
        "mpnet": lambda: transformers.MPNetConfig(**common, **wide, pad_token_id=1, bos_token_id=0, eos_token_id=2),
    }
    transformers.AutoModel.from_config(configs[kind]()).save_pretrained(folder)
    write_tokenizer(folder, pad_first=kind in {"bert", "distilbert"})
    return folder


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Each kind of random model, built once."""
    built: dict[str, Path] = {}

    def original(kind: str) -> Path:
        if kind not in built:
            built[kind] = build_model(tmp_path_factory.mktemp(kind), kind)
        return built[kind]

    return original


@pytest.fixture
def build(originals: Callable[[str], Path], tmp_path: Path) -> Build:
    """Copies a random model into a folder of the test, which may then change it."""
    import shutil

    def copy(kind: str = "bert", name: str = "model") -> Path:
        return Path(shutil.copytree(originals(kind), tmp_path / name))

    return copy
