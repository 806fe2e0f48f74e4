"""Reads, from the config.json of a vision model of transformers, all that can be known of it before its weights are loaded.

Models differ in what stands before the patches (a class token, registers), in how wide each layer is, and in whether they bring a pooler
that was trained. Types are listed one by one because a guess here (a register taken for a patch, a pooler that was never trained) gives
vectors that look right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.encoders.heads import RAGGED, Offer
from connector.encoders.weights import read_config
from connector.errors import ConfigError, nearest

OWN = "model"
"""The pooling that a model brings itself."""

LAST = "last"
"""The layer that leaves the model: the last block, and the normalisation behind it where there is one."""

_COLOURS = 3
_NUMBER = re.compile(r"-?\d{1,4}")


@dataclass(frozen=True, slots=True)
class VisionType:
    """What models of one type have in common.

    Attributes:
        prefix: Positions before the patches: the class token and what goes with it.
        pooling: The default.
        pooler: Whether a model of the type may bring a pooler with weights of its own.
        fixed: Whether it reads nothing but pictures of the size that it was trained on.
        processor: The image processor of transformers that it has unless its folder names one.
    """

    prefix: int = 1
    pooling: str = "cls"
    pooler: bool = False
    fixed: bool = True
    processor: str = "ViTImageProcessor"


_PYRAMID = VisionType(prefix=0, pooling=OWN, pooler=True, fixed=False, processor="ConvNextImageProcessor")
_DINO = VisionType(fixed=False, processor="BitImageProcessor")
TYPES = {
    "beit": VisionType(pooler=True, processor="BeitImageProcessor"),
    "convnext": _PYRAMID,
    "convnextv2": _PYRAMID,
    "data2vec-vision": VisionType(processor="BeitImageProcessor"),
    "deit": VisionType(prefix=2, pooler=True, processor="DeiTImageProcessor"),
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "swin": VisionType(prefix=0, pooling="mean", fixed=False),
    "vit": VisionType(pooler=True),
    "vit_mae": VisionType(pooling="mean"),
}
"""By `model_type` in config.json. The class token of a masked autoencoder is not trained by itself, so its patches are pooled."""

PAIRED = ("clip", "siglip")
"""Types of models for words and pictures, which the encoder `clip` runs."""


@dataclass(frozen=True, slots=True)
class VisionModelDescription:
    """A vision model as its config.json states it.

    Attributes:
        name: Its public name, for messages.
        type: `model_type`.
        widths: Numbers of a position's vector, by layer: what goes into the first block, then what leaves each.
        prefix: Positions before the patches.
        pooling: The default of the last layer.
        pooler: Width of the pooler's vector; 0 if it has none.
        tied: Whether the last block's output and the model's output are the same.
        size: The height and width that it reads; None: any.
        strides: Pixels from one position to the next, by layer as `widths`.
    """

    name: str
    type: str
    widths: tuple[int, ...]
    prefix: int
    pooling: str
    pooler: int
    tied: bool
    size: tuple[int, int] | None
    strides: tuple[int, ...]

    def layer(self, named: str | None) -> str:
        """The one form of a layer's name: `last`, or how many blocks lie before it; from behind, -1 is the last block's output."""
        depth = len(self.widths) - 1
        if named is None or not _NUMBER.fullmatch(named):
            return named or LAST
        number = int(named) + (depth + 1 if named.startswith("-") else 0)
        if not 0 <= number <= depth:
            return named
        return LAST if number == depth and self.tied else str(number)

    def patches(self, layer: str, height: int, width: int) -> int:
        """How many patches a layer has for a picture of this size; the network fills odd ones up."""
        stride = self.strides[-1] if layer == LAST else self.strides[int(layer)]
        return -(-height // stride) * -(-width // stride)

    def offer(self, layer: str, pooling: str | None) -> Offer:
        """What the model offers to a head of this layer and pooling."""
        depth = len(self.widths) - 1
        layers = (LAST, *(str(number) for number in range(depth + 1 - self.tied)))
        width = self.widths[int(layer)] if layer in layers and layer != LAST else self.widths[-1]
        width = self.pooler if layer == LAST and pooling == OWN and self.pooler else width
        first = self.pooling if layer == LAST or self.pooling != OWN else "mean"
        others = [*(["cls"] if self.prefix else []), "mean", "max", RAGGED, *([OWN] if self.pooler and layer == LAST else [])]
        return Offer(self.name, width, layers, (first, *(one for one in others if one != first)))


def describe_vision(folder: Path, model: str) -> VisionModelDescription:
    """What a folder states of its vision model.

    Raises:
        ConfigError: There is no config.json, it is broken, or of a type that is not known here.
    """
    config = read_config(folder, model)
    name = str(config.get("model_type"))
    if name not in TYPES:
        hint = f"for words and pictures write clip:{model}" if name in PAIRED else f"{nearest(name, TYPES)}; for text write transformers:"
        raise ConfigError(f"model {model}: a model of type `{name}` is none of the vision encoders known here", hint=hint)
    if config.get("num_channels", _COLOURS) != _COLOURS:
        raise ConfigError(f"model {model} reads {config['num_channels']} channels, not red, green and blue", hint="choose another model")
    kind, pooled = TYPES[name], bool(config.get("use_mean_pooling", True))
    meant = name in {"beit", "data2vec-vision"} and pooled
    try:
        widths = _widths(name, config)
        width = int(config.get("pooler_output_size") or widths[-1])
        strides = _strides(name, config)
        size = sides(config["image_size"]) if kind.fixed else None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"model {model}: config.json does not say how large the model is", hint="download the model again") from None
    return VisionModelDescription(
        name=model,
        type=name,
        widths=widths,
        prefix=kind.prefix + int(config.get("num_register_tokens", 0)),
        pooling="mean" if meant else kind.pooling,
        pooler=width if kind.pooler and (name != "beit" or pooled) else 0,
        tied=meant or kind is _PYRAMID,
        size=size,
        strides=strides,
    )


def sides(size: Any) -> tuple[int, int]:
    """Height and width of a size that is one number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _widths(name: str, config: dict[str, Any]) -> tuple[int, ...]:
    if name == "swin":
        stages = len(config["depths"])
        return tuple(int(config["embed_dim"]) * 2 ** min(stage, stages - 1) for stage in range(stages + 1))
    if TYPES[name] is _PYRAMID:
        return (int(config["hidden_sizes"][0]), *(int(width) for width in config["hidden_sizes"]))
    return (int(config["hidden_size"]),) * (int(config["num_hidden_layers"]) + 1)


def _strides(name: str, config: dict[str, Any]) -> tuple[int, ...]:
    patch = sides(config["patch_size"])[0]
    if name == "swin":
        stages = len(config["depths"])
        return tuple(patch * 2 ** min(stage, stages - 1) for stage in range(stages + 1))
    if TYPES[name] is _PYRAMID:
        return (patch, *(patch * 2**stage for stage in range(len(config["hidden_sizes"]))))
    return (patch,) * (int(config["num_hidden_layers"]) + 1)


def other_kind(config: dict[str, Any]) -> str | None:
    """The kind of encoder that runs a vision model, for those who asked for text; None for any other model."""
    name = config.get("model_type")
    return "clip" if name in PAIRED else "transformers-image" if name in TYPES else None
