"""Reads, from a text model's folder, all that can be known of it before its weights are loaded.

Only JSON is read: config.json of transformers and, where there are any, the files of sentence-transformers (modules.json,
1_Pooling/config.json, sentence_bert_config.json, config_sentence_transformers.json). What they state is followed exactly; what this
encoder cannot do is refused, because ignoring a module gives vectors that look right and are wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.encoders.weights import read_json
from connector.errors import ConfigError

POOLINGS = ("cls", "last", "max", "mean", "none")
"""How the vectors of the positions become one."""

_MODES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_HARMLESS = {"Transformer", "Pooling", "Normalize", "Dropout"}
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
_NO_LIMIT = 1e9
_LENGTHS = ("max_position_embeddings", "n_positions")

OFFSET_POSITIONS = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"}
    | {"xlm-roberta", "xlm-roberta-xl", "xmod"}
)
"""Model types whose positions count from padding_idx + 1, so that the last padding_idx + 1 are never used (fairseq's way)."""


@dataclass(frozen=True, slots=True)
class TextModelDescription:
    """A text model as its folder states it.

    Attributes:
        folder: Where config.json, the tokenizer and the weights are.
        hidden_size: Numbers a position's vector has.
        vocabulary: Number of token ids.
        pad_id: Token id of the padding.
        pooling: One of `POOLINGS`.
        normalize: Whether vectors are scaled to unit length.
        truncate_dim: How many numbers are kept by default; None: all.
        max_tokens: Most tokens of one input, special tokens included.
        positions: Most tokens that the model has positions for; None: not stated.
        lowercase: Text is lower-cased even if the tokenizer does not do so.
        prompts: Prompt by role: document, query.
        prompt_pooled: Whether the prompt's positions are pooled too.
    """

    folder: Path
    hidden_size: int
    vocabulary: int | None
    pad_id: int
    pooling: str = "mean"
    normalize: bool = False
    truncate_dim: int | None = None
    max_tokens: int = 512
    positions: int | None = None
    lowercase: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    prompt_pooled: bool = True


def describe(root: Path, model: str) -> TextModelDescription:
    """What a model folder states.

    Args:
        root: The folder.
        model: Its name, for messages.

    Raises:
        ConfigError: A file is missing or broken, or the model needs something that this encoder does not do.
    """
    modules = _modules(root, model)
    folder = root / modules.get("Transformer", "")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {model}: {folder} holds no config.json", hint="name the folder that save_pretrained wrote")
    config = read_json(folder / "config.json")
    _check(config, model)
    pooling = read_json(root / modules["Pooling"] / "config.json") if "Pooling" in modules else {}
    own = _optional(root / "config_sentence_transformers.json")
    bert = next((read_json(path) for path in sorted(folder.glob("sentence_*_config.json"))), {})
    positions = _positions(config)
    return TextModelDescription(
        folder=folder,
        hidden_size=_width(config, model),
        vocabulary=config.get("vocab_size"),
        pad_id=config.get("pad_token_id") or (1 if config.get("model_type") in OFFSET_POSITIONS and "pad_token_id" not in config else 0),
        pooling=_pooling(pooling, model) if pooling else "mean",
        normalize="Normalize" in modules,
        truncate_dim=own.get("truncate_dim"),
        max_tokens=_max_tokens(bert.get("max_seq_length"), _optional(folder / "tokenizer_config.json"), positions),
        positions=positions,
        lowercase=bool(bert.get("do_lower_case")),
        prompts=_prompts(own.get("prompts") or {}),
        prompt_pooled=bool(pooling.get("include_prompt", True)),
    )


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _modules(root: Path, model: str) -> dict[str, str]:
    """Folder of each sentence-transformers module by its class; {} if the folder has no modules.json."""
    path = root / "modules.json"
    if not path.is_file():
        return {}
    try:
        listed = [(str(module["type"]), str(module.get("path", ""))) for module in json.loads(path.read_bytes())]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"model {model}: modules.json is broken", hint="download the model again") from None
    for kind, place in listed:
        name = kind.rpartition(".")[2]
        if not kind.startswith("sentence_transformers.") or name not in _HARMLESS:
            raise ConfigError(
                f"model {model} has a module `{place or name}` of type {name}, which is not supported yet; without it vectors go wrong",
                hint="choose a model made of Transformer, Pooling and Normalize",
            )
        if ".." in Path(place).parts or Path(place).is_absolute():
            raise ConfigError(f"model {model}: modules.json points outside the model's folder", hint="use a model that you trust")
    return {kind.rpartition(".")[2]: place for kind, place in listed}


def _check(config: dict[str, Any], model: str) -> None:
    if config.get("auto_map"):
        problem = f"model {model} brings its own program code (auto_map in config.json), which is never run"
        raise ConfigError(problem, hint="choose a model of an architecture that transformers has")
    if config.get("is_encoder_decoder"):
        raise ConfigError(f"model {model} is an encoder-decoder, which is not supported yet", hint="choose an encoder-only model")


def _width(config: dict[str, Any], model: str) -> int:
    found = next((config[name] for name in _WIDTHS if isinstance(config.get(name), int)), None)
    if found is None:
        problem = f"model {model}: config.json states no {' or '.join(_WIDTHS)}, so it is no text encoder"
        raise ConfigError(problem, hint="choose another model")
    return int(found)


def _positions(config: dict[str, Any]) -> int | None:
    """How many positions the model has; XLNet states -1 for any number."""
    found = next((config[name] for name in _LENGTHS if isinstance(config.get(name), int)), None)
    if found is None or found <= 0:
        return None
    if config.get("model_type") in OFFSET_POSITIONS:
        found -= (1 if config.get("pad_token_id") is None else int(config["pad_token_id"])) + 1
    return int(found)


def _max_tokens(stated: int | None, tokenizer: dict[str, Any], positions: int | None) -> int:
    """The smallest of what the folder states (a tokenizer's model_max_length of 1e30 says nothing), else 512."""
    limits = [limit for limit in (stated or tokenizer.get("model_max_length"), positions) if limit is not None and limit < _NO_LIMIT]
    return int(min(limits)) if limits else 512


def _pooling(config: dict[str, Any], model: str) -> str:
    """The mode of a Pooling module: `pooling_mode` of sentence-transformers 6, or the flags of the older ones."""
    stated = config.get("pooling_mode", [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"])
    modes = [stated] if isinstance(stated, str) else list(stated)
    if len(modes) != 1 or modes[0] not in _MODES:
        problem = f"model {model} pools by {' + '.join(map(str, modes))}, which is not supported yet"
        raise ConfigError(problem, hint=f"valid: {', '.join(_MODES)}, one at a time")
    return _MODES[modes[0]]


def _prompts(stated: dict[str, str]) -> dict[str, str]:
    """By role; the names a document's prompt may have are those of sentence-transformers' `encode_document`."""
    document = next((stated[name] for name in ("document", "passage", "corpus") if stated.get(name)), "")
    return {"document": document, "query": stated.get("query") or ""}
