"""Asks torchvision what only torchvision knows, and builds its networks. The module that imports torchvision, and with it torch."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import torch
import torchvision
from torchvision import models

from connector.encoders.graph import Traced
from connector.encoders.states import fill, read_tensors
from connector.encoders.taps import Tap
from connector.errors import ConfigError, nearest

_WITH_AUXILIARIES = {"googlenet", "inception_v3"}

_ONLY_FOR_TRAINING = ("aux1.", "aux2.", "AuxLogits.")
"""Parts of GoogLeNet and Inception that files have or have not, and that no vector needs."""

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d+)")
"""Names of tensors that torchvision's own files of DenseNet still have."""


def about(name: str, weights: str) -> dict[str, Any]:
    """What goes with a model's weights, as JSON values: their name, address and preprocessing, and which layer gives the classes.

    Args:
        name: Of `torchvision.models`.
        weights: Of its weights, or "" for the best ones.

    Raises:
        ConfigError: There is no such model or weights, or it does not make one vector of one picture.
    """
    if name not in models.list_models(module=models):
        raise _unknown(name)
    every = models.get_model_weights(name)
    valid = [one.name for one in every if one.meta.get("categories")]  # those of one VGG16 leave its classifier untrained
    if weights and weights not in valid:
        raise ConfigError(f"torchvision has no weights `{weights}` of a whole {name}", hint=nearest(weights, valid))
    chosen = every[weights] if weights else every.DEFAULT
    how = chosen.transforms()
    traced = Traced(empty(name, chosen.name))
    preprocessing = {"size": how.crop_size * 2, "resize": how.resize_size[0], "interpolation": how.interpolation.value}
    preprocessing |= {"mean": list(how.mean), "std": list(how.std)}
    return {"weights": chosen.name, "url": chosen.url, "preprocessing": preprocessing, "head": traced.head}


def _unknown(name: str) -> ConfigError:
    if name in models.list_models():
        problem = f"torchvision's {name} does not make one vector of one picture: it detects, segments, or reads video"
        return ConfigError(problem, hint="name its backbone, such as torchvision:resnet50")
    close = difflib.get_close_matches(name, models.list_models(module=models), n=3)
    hint = f"did you mean `{'`, `'.join(close)}`?" if close else "see torchvision.models.list_models(torchvision.models)"
    return ConfigError(f"torchvision {torchvision.__version__} has no model `{name}`", hint=hint)


def layers(name: str, weights: str, classes: int | None, size: list[int]) -> dict[str, Any]:
    """What each node gives for pictures of this size, as JSON values of `Tap`, and the one that the classifier reads."""
    made = empty(name, weights, classes)
    traced = Traced(made)
    with torch.device("meta"):
        found = traced.taps((3, *size))
    tokens = getattr(made, "seq_length", None)  # of a ViT: a class token and one for each patch
    known = {node: Tap(tap.shape, 1, True) if tap.shape[:-1] == (tokens,) else tap for node, tap in found.items()}
    return {"layers": {node: tap.to_json() for node, tap in known.items()}, "penultimate": traced.penultimate}


def empty(name: str, weights: str, classes: int | None = None) -> Any:
    """A network without numbers (on the meta device), built as torchvision builds it for these weights.

    Args:
        name: Of the model.
        weights: Of its weights.
        classes: How many it tells apart; default: as the weights do.
    """
    try:
        with torch.device("meta"):
            return _network(name, weights, classes)
    except NotImplementedError:  # RegNets work out their widths with tensors
        return _network(name, weights, classes).to("meta")


def _network(name: str, weights: str, classes: int | None) -> Any:
    meta = models.get_model_weights(name)[weights].meta
    args: dict[str, Any] = {"num_classes": classes or len(meta["categories"])}
    if name in _WITH_AUXILIARIES:
        args |= {"aux_logits": False, "transform_input": True, "init_weights": False}
    if name.startswith("vit_"):
        args["image_size"] = meta["min_size"][0]
    return models.get_model(name, weights=None, **args).eval()


def loaded(name: str, weights: str, classes: int | None, file: Path) -> Any:
    """A network in float32 with the weights of a file.

    Raises:
        ConfigError: They are broken, or not this network's.
    """
    tensors = read_tensors(file, name)
    if name in _WITH_AUXILIARIES:
        tensors = {key: one for key, one in tensors.items() if not key.startswith(_ONLY_FOR_TRAINING)}
    if name.startswith("densenet"):
        tensors = {_OLD_DENSENET.sub(r"\1\2", key): one for key, one in tensors.items()}
    return fill(empty(name, weights, classes), tensors, file, name)
