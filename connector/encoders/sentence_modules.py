"""Reads the modules that sentence-transformers lists in a model's folder: what comes after the network, in their order.

What they state is followed exactly; an order or a module that this encoder cannot do is refused, because leaving one out gives vectors
that look right and are wrong.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.encoders.weights import read_json
from connector.errors import ConfigError

MODES = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
"""Our name of a pooling by theirs."""

_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
"""The same in older folders, in the order in which several are joined."""

_ORDER = re.compile(r"Transformer( Pooling( Dropout)*( Dense( Dropout)*)*)?( Normalize)?( Dropout)*")
_SPARSE = re.compile(r"(MLM)?Transformer SpladePooling")
_TORCH = re.compile(r"torch\.nn\.modules\.\w+\.(\w+)")
_VECTOR = {None, "sentence_embedding"}


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear layer after the pooling, as a `Dense` module states it.

    Attributes:
        folder: Holds its weights.
        inputs: Numbers of a vector before it.
        outputs: Numbers of a vector after it.
        bias: Whether it adds one.
        activation: Class of `torch.nn` that is applied to the sum.
        residual: Whether the input, projected if need be, is added at the end.
    """

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True, slots=True)
class Modules:
    """What comes after a network.

    Attributes:
        network: The folder of the network itself.
        pooling: Modes joined by "+".
        prompt_pooled: Whether the prompt's positions are pooled too.
        projections: Linear layers over the pooled vector.
        normalize: Whether vectors are scaled to unit length at the end.
        sparse: The SpladePooling's settings; None: vectors are dense.
    """

    network: Path
    pooling: str = "mean"
    prompt_pooled: bool = True
    projections: tuple[Projection, ...] = ()
    normalize: bool = False
    sparse: dict[str, Any] | None = None


def read_modules(root: Path, model: str) -> Modules:
    """The modules of a model folder; one without modules.json is a bare network, pooled by mean.

    Args:
        root: The folder.
        model: Its name, for messages.

    Raises:
        ConfigError: The list is broken, or holds what this encoder cannot do.
    """
    if not (root / "modules.json").is_file():
        return Modules(root)
    listed = _listed(root, model)
    kinds = " ".join(kind for kind, _ in listed)
    if _SPARSE.fullmatch(kinds):
        return Modules(listed[0][1], sparse=read_json(listed[1][1] / "config.json"))
    if not _ORDER.fullmatch(kinds):
        raise ConfigError(
            f"model {model} is made of the modules {kinds.replace(' ', ', ')}; left out or out of order, one makes vectors go wrong",
            hint="choose a model made of Transformer, Pooling, Dense and Normalize, in this order",
        )
    for kind, folder in listed:
        _check_vector(kind, folder, model)
    pooling = next((read_json(folder / "config.json") for kind, folder in listed if kind == "Pooling"), {})
    return Modules(
        network=listed[0][1],
        pooling=_pooling(pooling, model),
        prompt_pooled=bool(pooling.get("include_prompt", True)),
        projections=tuple(_projection(folder, model) for kind, folder in listed if kind == "Dense"),
        normalize=any(kind == "Normalize" for kind, _ in listed),
    )


def _listed(root: Path, model: str) -> list[tuple[str, Path]]:
    """Class and folder of each module."""
    try:
        listed = [(str(module["type"]), str(module.get("path", ""))) for module in json.loads((root / "modules.json").read_bytes())]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"model {model}: modules.json is broken", hint="download the model again") from None
    for kind, place in listed:
        if ".." in Path(place).parts or Path(place).is_absolute():
            raise ConfigError(f"model {model}: modules.json points outside the model's folder", hint="use a model that you trust")
        if not kind.startswith("sentence_transformers."):
            raise ConfigError(f"model {model} brings its own program code ({kind}), which is never run", hint="choose another model")
    return [(kind.rpartition(".")[2], root / place) for kind, place in listed]


def _check_vector(kind: str, folder: Path, model: str) -> None:
    """A module that works on the vectors of tokens, not on the pooled one, is another thing."""
    path = folder / "config.json"
    stated = read_json(path) if kind in {"Dense", "Normalize"} and path.is_file() else {}
    if not {stated.get("module_input_name"), stated.get("module_output_name")} <= _VECTOR:
        raise ConfigError(f"model {model}: its {kind} module works on tokens, which is not supported", hint="choose another model")


def _pooling(config: dict[str, Any], model: str) -> str:
    """The modes of a Pooling module: `pooling_mode` of sentence-transformers 6, or the flags of the older ones."""
    stated = config.get("pooling_mode")
    if stated is None:
        return "+".join([mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"])
    modes = [stated] if isinstance(stated, str) else list(stated)
    unknown = [str(mode) for mode in modes if mode not in MODES]
    if unknown or not modes:
        problem = f"model {model} pools by {' + '.join(map(str, modes)) or 'nothing'}, which is not supported"
        raise ConfigError(problem, hint=f"valid: {', '.join(MODES)}")
    return "+".join(MODES[mode] for mode in modes)


def _projection(folder: Path, model: str) -> Projection:
    config = read_json(folder / "config.json")
    stated = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _TORCH.fullmatch(stated)
    if activation is None:
        raise ConfigError(f"model {model}: the activation {stated} of {folder.name} is none of torch", hint="choose another model")
    try:
        inputs, outputs = int(config["in_features"]), int(config["out_features"])
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"model {model}: {folder.name}/config.json states no dimensions", hint="download the model again") from None
    return Projection(folder, inputs, outputs, bool(config.get("bias", True)), activation[1], bool(config.get("use_residual")))
