"""Builds small random models in the format that save_pretrained writes, so that tests need no download."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "red", "green", "blue"]
WORDS += ["milvus", "vector", "database", "stores", "finds", "near", "points", "over", "and", "under"]
FAIRSEQ = {"roberta", "mpnet", "data2vec-text"}
"""Kinds whose padding is 1 and whose first positions are never used."""
Build = Callable[..., Path]


def write_tokenizer(folder: Path, *, pad_first: bool = True, template: str = "[CLS] $A [SEP]") -> None:
    """A tokenizer.json of words, with the special tokens of BERT (padding is 0) or of RoBERTa (padding is 1)."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if pad_first else ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=special[1 if pad_first else 3]))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **named}))


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
    """A random model of 32 numbers and two layers; "masked-bert" and "masked-distilbert" have the head that guesses words."""
    import torch
    import transformers

    torch.manual_seed(7)
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    positions = 66 if kind in FAIRSEQ else 64
    common: dict[str, Any] = {"vocab_size": 4 + len(WORDS), "max_position_embeddings": positions}
    fairseq = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    narrow = {**common, **wide, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "eos_token_id": 3}
    configs: dict[str, Callable[[], Any]] = {
        "bert": lambda: transformers.BertConfig(**common, **wide),
        "distilbert": lambda: transformers.DistilBertConfig(**common, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
        "roberta": lambda: transformers.RobertaConfig(**common, **wide, **fairseq),
        "mpnet": lambda: transformers.MPNetConfig(**common, **wide, **fairseq),
        "data2vec-text": lambda: transformers.Data2VecTextConfig(**common, **wide, **fairseq),
        "modernbert": lambda: transformers.ModernBertConfig(
            **common, **wide, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, global_attn_every_n_layers=2
        ),
        "qwen3": lambda: transformers.Qwen3Config(**narrow),
        "gemma3": lambda: transformers.Gemma3TextConfig(**narrow, bos_token_id=2, use_bidirectional_attention=True),
    }
    plain = kind.removeprefix("masked-")
    auto = transformers.AutoModel if plain == kind else transformers.AutoModelForMaskedLM
    auto.from_config(configs[plain]()).save_pretrained(folder)
    template = "$A [SEP]" if kind == "qwen3" else "[CLS] $A [SEP]"
    write_tokenizer(folder, pad_first=plain not in FAIRSEQ, template=template)
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
