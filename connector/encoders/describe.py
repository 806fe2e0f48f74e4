"""Reads, from a text model's folder, all that can be known of it before its weights are loaded.

Only JSON is read: config.json of transformers and, where there are any, the files of sentence-transformers (sentence_bert_config.json,
config_sentence_transformers.json, and the modules that `sentence_modules.py` reads).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.encoders.audio_config import AUDIO_MODELS
from connector.encoders.layers import depth_of
from connector.encoders.sentence_modules import Modules, read_modules
from connector.encoders.vision_types import other_kind
from connector.encoders.weights import read_json
from connector.errors import ConfigError

POOLINGS = ("cls", "last", "max", "mean", "mean_sqrt_len", "weighted_mean")
"""How the vectors of the positions become one; several are joined by "+"."""

_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
_NO_LIMIT = 1e9
_TASKS = ("feature-extraction", "fill-mask")
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
        modules: What comes after the network: pooling, projections, normalisation.
        hidden_size: Numbers a position's vector has.
        depth: Number of blocks; None: not stated.
        vocabulary: Number of token ids.
        pad_id: Token id of the padding.
        truncate_dim: How many numbers are kept by default; None: all.
        max_tokens: Most tokens of one input, special tokens included.
        positions: Most tokens that the model has positions for; None: not stated.
        lowercase: Text is lower-cased even if the tokenizer does not do so.
        prompts: Prompt by role: document, query.
        max_active: Most weights of a sparse vector; None: all.
    """

    folder: Path
    modules: Modules
    hidden_size: int
    depth: int | None
    vocabulary: int | None
    pad_id: int
    truncate_dim: int | None = None
    max_tokens: int = 512
    positions: int | None = None
    lowercase: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    max_active: int | None = None


def describe(root: Path, model: str) -> TextModelDescription:
    """What a model folder states.

    Args:
        root: The folder.
        model: Its name, for messages.

    Raises:
        ConfigError: A file is missing or broken, or the model needs something that this encoder does not do.
    """
    modules = read_modules(root, model)
    folder = modules.network
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {model}: {folder} holds no config.json", hint="name the folder that save_pretrained wrote")
    config = read_json(folder / "config.json")
    _check(config, model)
    own = _optional(root / "config_sentence_transformers.json")
    bert = next((read_json(path) for path in sorted(folder.glob("sentence_*_config.json"))), {})
    _check_task(bert, modules, model)
    positions = _positions(config)
    return TextModelDescription(
        folder=folder,
        modules=modules,
        hidden_size=_width(config, model),
        depth=depth_of(config),
        vocabulary=config.get("vocab_size"),
        pad_id=config.get("pad_token_id") or (1 if config.get("model_type") in OFFSET_POSITIONS and "pad_token_id" not in config else 0),
        truncate_dim=own.get("truncate_dim"),
        max_tokens=_max_tokens(bert.get("max_seq_length"), _optional(folder / "tokenizer_config.json"), positions),
        positions=positions,
        lowercase=bool(bert.get("do_lower_case")),
        prompts=_prompts(own.get("prompts") or {}),
        max_active=own.get("max_active_dims"),
    )


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _check(config: dict[str, Any], model: str) -> None:
    kind = config.get("model_type")
    audio = "clap" if kind == "clap" else "transformers-audio" if kind in AUDIO_MODELS else None
    other = audio or other_kind(config)
    if other:
        problem = f"model {model} is of type `{kind}`, {'which reads recordings, not text alone' if audio else 'no text encoder'}"
        raise ConfigError(problem, hint=f"write {other}:{model}")
    if config.get("auto_map"):
        problem = f"model {model} brings its own program code (auto_map in config.json), which is never run"
        raise ConfigError(problem, hint="choose a model of an architecture that transformers has")
    if config.get("is_encoder_decoder"):
        raise ConfigError(f"model {model} is an encoder-decoder, which is not supported yet", hint="choose an encoder-only model")


def _check_task(stated: dict[str, Any], modules: Modules, model: str) -> None:
    """Refuses a network of which sentence-transformers takes something else than the last hidden states, or the logits of masked words."""
    task = stated.get("transformer_task", _TASKS[0] if modules.sparse is None else _TASKS[1])
    text = (stated.get("modality_config") or {}).get("text")
    given = text.get("method_output_name") if isinstance(text, dict) else None
    wanted = "last_hidden_state" if modules.sparse is None else "logits"
    if task != _TASKS[modules.sparse is not None] or given not in {None, wanted}:
        problem = f"model {model} gives {given or task}, which is not supported"
        raise ConfigError(problem, hint="choose a model whose Transformer module gives last_hidden_state, or a SPLADE model")


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


def _prompts(stated: dict[str, str]) -> dict[str, str]:
    """By role; the names a document's prompt may have are those of sentence-transformers' `encode_document`."""
    document = next((stated[name] for name in ("document", "passage", "corpus") if stated.get(name)), "")
    return {"document": document, "query": stated.get("query") or ""}
