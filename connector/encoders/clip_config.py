"""Reads, from a folder of CLIP or SigLIP, all that can be known of the pair of models before their weights are loaded.

The two families differ in how they read text. CLIP takes the position of the end token, and since it looks only backwards, what pads a
text does not matter. SigLIP takes the last position of all, and was trained on texts filled up to 64 tokens without a mask: filled up
to another length, it gives another vector. Older files leave out what is at its default in the inner models, so the defaults stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.encoders.tokens import load_tokenizer
from connector.encoders.vision_types import PAIRED, sides
from connector.encoders.weights import read_config, read_json
from connector.errors import ConfigError, nearest

_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "vision": {
        "clip": {"image_size": 224, "patch_size": 32, "num_channels": 3},
        "siglip": {"hidden_size": 768, "image_size": 224, "patch_size": 16, "num_channels": 3},
    },
    "text": {
        "clip": {"max_position_embeddings": 77, "vocab_size": 49_408, "eos_token_id": 49_407},
        "siglip": {"hidden_size": 768, "max_position_embeddings": 64, "vocab_size": 32_000},
    },
}
_DIM = 512
_COLOURS = 3
_OLD_END = 2
"""The end token that CLIP's first configurations state; for those the model looks for the highest id instead."""


@dataclass(frozen=True, slots=True)
class Padding:
    """How every text is filled up before it is read.

    Attributes:
        length: Tokens of every text.
        token: Id of the filling.
        left: Whether it stands before the text.
    """

    length: int
    token: int
    left: bool = False


@dataclass(frozen=True, slots=True)
class PairDescription:
    """Two models, for words and pictures, as their folder states them.

    Attributes:
        type: `clip` or `siglip`.
        dim: Numbers of a vector.
        size: Height and width of the pictures.
        token_cost: Pixels of a patch: a patch is a token to a picture's model, so a token of a text costs as much.
        max_tokens: Most tokens of a text, special tokens included.
        lowercase: Text is lower-cased even if the tokenizer does not do so.
        padding: How texts are filled up; None: only to the longest of a batch.
    """

    type: str
    dim: int
    size: tuple[int, int]
    token_cost: int
    max_tokens: int
    lowercase: bool
    padding: Padding | None


def describe_pair(folder: Path, model: str) -> PairDescription:
    """What a folder of CLIP or SigLIP states.

    Raises:
        ConfigError: A file is missing or broken, or the folder holds another model.
    """
    config = read_config(folder, model)
    kind = str(config.get("model_type"))
    if kind not in PAIRED:
        hint = f"{nearest(kind, PAIRED)}; for other models write transformers: or transformers-image:"
        raise ConfigError(f"model {model}: a model of type `{kind}` is neither CLIP nor SigLIP of one picture size", hint=hint)
    vision, text = inner(config, "vision"), inner(config, "text")
    if vision["num_channels"] != _COLOURS:
        raise ConfigError(f"model {model} reads {vision['num_channels']} channels, not red, green and blue", hint="choose another model")
    stated = _optional(folder / "tokenizer_config.json")
    lowercase = str(stated.get("tokenizer_class")).startswith("Siglip2")
    length = _length(stated.get("model_max_length"), int(text["max_position_embeddings"]))
    _check_tokenizer(folder, model, text, end=text["eos_token_id"] if kind == "clip" else None)
    height, width = sides(vision["patch_size"])
    return PairDescription(
        type=kind,
        dim=_dim(config, vision, text, model),
        size=sides(vision["image_size"]),
        token_cost=height * width,
        max_tokens=length,
        lowercase=lowercase,
        padding=_padding(folder, stated, text, length, model) if kind == "siglip" else None,
    )


def inner(config: dict[str, Any], part: str) -> dict[str, Any]:
    """What config.json says of one of the two models. The first folders of CLIP say it twice, and then the second saying counts alone."""
    kind = config["model_type"]
    twice = config.get(f"{part}_config_dict") if kind == "clip" else None
    stated = config.get(f"{part}_config") if twice is None else twice
    return {**_DEFAULTS[part][kind], **(stated or {})}


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _length(stated: Any, positions: int) -> int:
    return min(int(stated), positions) if isinstance(stated, int | float) and stated > 0 else positions


def _dim(config: dict[str, Any], vision: dict[str, Any], text: dict[str, Any], model: str) -> int:
    """Length of both models' vectors. SigLIP has no projection for pictures, so they are as wide as its model."""
    if config["model_type"] == "clip":
        return int(config.get("projection_dim", _DIM))
    words, pictures = int(text.get("projection_size") or text["hidden_size"]), int(vision["hidden_size"])
    if words != pictures:
        problem = f"model {model}: {words} numbers for words and {pictures} for pictures cannot be compared"
        raise ConfigError(problem, hint="download the model again")
    if vision.get("vision_use_head") is False:
        raise ConfigError(f"model {model} has no head for pictures, so it has no vectors for them", hint="choose another model")
    return words


def _check_tokenizer(folder: Path, model: str, text: dict[str, Any], *, end: Any) -> None:
    """Refuses a tokenizer of another model: other ids, or another end than the one that the model looks for."""
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    if tokenizer.get_vocab_size() > text["vocab_size"]:
        problem = f"model {model}: the tokenizer has {tokenizer.get_vocab_size()} tokens, the model {text['vocab_size']}"
        raise ConfigError(problem, hint="download the model again")
    last = tokenizer.encode("a").ids[-1:]
    if end not in (None, _OLD_END, *last):
        problem = f"model {model}: the tokenizer ends a text with {last}, and the model looks for {end} (eos_token_id)"
        raise ConfigError(problem, hint="download the model again")


def _padding(folder: Path, stated: dict[str, Any], text: dict[str, Any], length: int, model: str) -> Padding:
    """How SigLIP's texts are filled up; the token's id is the tokenizer's, as transformers has it."""
    named = stated.get("pad_token") or _optional(folder / "special_tokens_map.json").get("pad_token")
    name = named.get("content") if isinstance(named, dict) else named
    token = load_tokenizer(folder / "tokenizer.json").token_to_id(name) if isinstance(name, str) else text.get("pad_token_id", 1)
    if token is None:
        raise ConfigError(f"model {model}: the tokenizer does not know its own padding `{name}`", hint="download the model again")
    return Padding(length, int(token), left=_left(stated))


def _left(stated: dict[str, Any]) -> bool:
    """The side as stated; transformers' own class for SigLIP 2 fills up on the left unless the folder says."""
    usual = "left" if str(stated.get("tokenizer_class")).startswith("Siglip2") else "right"
    return bool(stated.get("padding_side", usual) == "left")
