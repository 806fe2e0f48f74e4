"""Reads, from the config.json of a timm model, all that can be known of it before its weights are loaded.

The file names the architecture and the preprocessing, but not how long the vector before the classifier is: `num_features` is another
number wherever a head has layers of its own. That length stands in the weights' header, as the classifier's width. Where there are no
weights yet, timm is asked; it imports torch, which takes seconds, so its answers are remembered by its version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.encoders.asking import asked
from connector.encoders.resizing import CROPS, INTERPOLATIONS, Preprocessing
from connector.encoders.taps import Tap
from connector.encoders.weights import read_json, weight_files
from connector.errors import ConfigError, nearest
from connector.record import fingerprint

_COLOURS = 3
_RESERVED = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"})
"""Arguments of `timm.create_model` that would have it load something else."""


@dataclass(frozen=True, slots=True)
class Network:
    """What builds a network again, without its weights.

    Attributes:
        architecture: A name in timm's registry.
        args: Further arguments of its constructor.
        pretrained: timm's description of the weights; the number of classes is in it.
    """

    architecture: str
    args: dict[str, Any]
    pretrained: dict[str, Any]

    def identity(self) -> str:
        """Hash of what decides how the weights are used (16 hex digits)."""
        return fingerprint({"architecture": self.architecture, "args": self.args, "num_classes": self.pretrained.get("num_classes")})


def read_network(folder: Path, model: str) -> Network:
    """What a folder's config.json says of the network.

    Raises:
        ConfigError: There is no such file, it is broken, or is not one of timm's.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {model}: {folder} holds no config.json", hint="name a folder that timm.models.save_for_hf wrote")
    config = read_json(folder / "config.json")
    pretrained = config.get("pretrained_cfg", config)
    architecture, args = config.get("architecture"), config.get("model_args") or {}
    if not isinstance(architecture, str) or not isinstance(pretrained, dict) or not isinstance(args, dict):
        raise ConfigError(f"model {model}: config.json names no timm architecture", hint="choose a model made for timm")
    odd = sorted(_RESERVED & set(args))
    if odd:
        raise ConfigError(f"model {model}: config.json sets `{odd[0]}`, which would load other weights", hint="use a model that you trust")
    pretrained = {**pretrained, "num_classes": config.get("num_classes", pretrained.get("num_classes"))}
    for name in ("architecture", "num_features", "labels"):
        pretrained.pop(name, None)
    return Network(architecture, args, pretrained)


def read_preprocessing(network: Network, model: str) -> Preprocessing:
    """The evaluation transform that the weights were made for, by the rules and defaults of `timm.data.resolve_data_config`.

    Raises:
        ConfigError: It is none that is known, or not for pictures in colour.
    """
    stated = network.pretrained
    channels, height, width = stated.get("input_size") or (_COLOURS, 224, 224)
    if channels != _COLOURS:
        raise ConfigError(f"model {model} reads {channels} channels, not red, green and blue", hint="choose another model")
    given = {name: stated[name] for name in ("crop_pct", "interpolation") if stated.get(name)}
    given |= {name: tuple(map(float, stated[name])) for name in ("mean", "std") if stated.get(name)}
    how = Preprocessing((int(height), int(width)), crop=stated.get("crop_mode") or "center", **given)
    for value, valid in ((how.interpolation, INTERPOLATIONS), (how.crop, CROPS)):
        if value not in valid:
            raise ConfigError(f"model {model}: config.json asks for `{value}`", hint=nearest(value, valid))
    return how


def read_dim(folder: Path, network: Network, model: str) -> int:
    """Length of the vector that goes into the classifier.

    Raises:
        ConfigError: timm has no such architecture.
    """
    return _classifier_width(folder, network) or int(_ask("dim", network.architecture, network.args, network.pretrained, model=model))


def read_layers(network: Network, size: tuple[int, int], model: str) -> dict[str, Tap]:
    """What each layer inside gives for pictures of this size, in order; asks timm, once.

    Raises:
        ConfigError: timm has no such architecture, or cannot list its layers.
    """
    found = _ask("layers", network.architecture, network.args, network.pretrained, size, model=model)
    return {name: Tap.from_json(tap) for name, tap in found.items()}


def _classifier_width(folder: Path, network: Network) -> int | None:
    """By the header of the weights; None if there are none, or no classifier in them."""
    import safetensors

    named = network.pretrained.get("classifier")
    names = [named] if isinstance(named, str) else list(named or [])
    files = [file for file in weight_files(folder) if file.suffix == ".safetensors"]
    if not names or not files or not network.pretrained.get("num_classes"):
        return None
    try:
        with safetensors.safe_open(files[0], framework="numpy") as header:
            shape = header.get_slice(f"{names[0]}.weight").get_shape()
    except (OSError, safetensors.SafetensorError):
        return None
    return int(shape[1]) if len(shape) > 1 else None


def hub_name(name: str) -> str:
    """The Hub model that holds the weights of a plain timm name: `resnet50` gives `timm/resnet50.a1_in1k`.

    Raises:
        ConfigError: timm has no such model, or no weights for it on the Hub.
    """
    return str(_ask("hub_name", name))


def _ask(what: str, *about: Any, **known: Any) -> Any:
    """One of timm's answers, by the name of the function that gives it."""

    def ask() -> Any:
        from connector.encoders import timm_library

        return getattr(timm_library, what)(*about, **known)

    return asked("timm", what, about, ask)
