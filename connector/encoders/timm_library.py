"""Asks timm what only timm knows, and builds its networks. The module that imports timm, and with it torch.

Weights are never fetched here: a network is built from what its config.json says and filled from the one file that was checked before.
Layers inside are reached by timm's own `forward_intermediates`, which gives them all in one pass, as maps with the channels first.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from connector.encoders.tapping import taken
from connector.encoders.taps import Tap
from connector.encoders.torch_device import is_out_of_memory
from connector.encoders.vectors import Late
from connector.errors import ConfigError, nearest
from connector.interfaces import Head

PENULTIMATE, FEATURES = "penultimate", "features"
"""What the network hands to its classifier, and what it gives before that is pooled (`forward_features`)."""


def hub_name(name: str) -> str:
    """The Hub model of a plain name, with timm's default weights where the name has no tag.

    Raises:
        ConfigError: There is no such model, or timm knows no weights of it on the Hub.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = f"{_near(architecture)}, or name a Hub model as org/name, or a folder as ./name"
        raise ConfigError(f"timm {timm.__version__} has no model `{architecture}`", hint=hint)
    tags = timm.list_pretrained(f"{architecture}.*")
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False) if not tag or name in tags else None
    if config is None:
        raise ConfigError(f"timm has no weights `{name}`", hint=nearest(name, tags))
    if not config.hf_hub_id:
        raise ConfigError(f"timm knows no weights of `{name}` on the Hugging Face Hub", hint=nearest(name, tags))
    return str(config.hf_hub_id)


def _near(name: str) -> str:
    """The likely meanings of a name that does not exist; all 1,300 names would be no help."""
    import difflib

    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    return f"did you mean `{'`, `'.join(close)}`?" if close else "see timm.list_models()"


def dim(architecture: str, args: dict[str, Any], pretrained: dict[str, Any], *, model: str) -> int:
    """Length of the vector that goes into the classifier, from a network without weights.

    Raises:
        ConfigError: timm cannot build it.
    """
    with torch.device("meta"):
        network = build(architecture, args, pretrained, None, model)
    return width(network)


def width(network: Any) -> int:
    """Length of the vector that goes into a network's classifier."""
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def layers(architecture: str, args: dict[str, Any], pretrained: dict[str, Any], size: Sequence[int], *, model: str) -> dict[str, Any]:
    """What each layer inside gives, as JSON values of `Tap` by name, from a network without weights: the features, then the layers.

    Raises:
        ConfigError: timm cannot build it, or it takes no picture of this size.
    """
    problem = ""
    for device in ("meta", "cpu"):  # a few networks look at numbers, which the meta device does not have
        with torch.device(device), torch.inference_mode():
            network = build(architecture, args, pretrained, None, model)
            try:
                final, inner = network.forward_intermediates(torch.zeros(1, 3, *size))
            except Exception as error:  # noqa: BLE001 - whatever the library raises
                problem = type(error).__name__
                continue
            cls = _prefix(network)
            found = {FEATURES: features_tap(network, final)} if isinstance(final, torch.Tensor) else {}
            named = zip(names(network), inner, strict=True)
            found |= {name: Tap(tuple(one.shape[1:]), cls=cls) for name, one in named}
            return {name: tap.to_json() for name, tap in found.items()}
    raise ConfigError(f"model {model}: its layers cannot be listed ({problem})", hint="leave `layer` out, or upgrade `timm`")


def names(network: Any) -> list[str]:
    """The layers that `forward_intermediates` gives, in its order."""
    return [str(one["module"]) for one in network.feature_info]


def features_tap(network: Any, features: Any) -> Tap:
    """What is known of the output of `forward_features`; where a network does not say, one token more than a square is a class token."""
    if features.ndim != 3:  # noqa: PLR2004 - a map
        return Tap(tuple(features.shape[1:]), last=str(getattr(network, "output_fmt", "")) == "NHWC")
    tokens, said = features.shape[1], getattr(network, "num_prefix_tokens", None)
    prefix = int(tokens > 2 and math.isqrt(tokens - 1) ** 2 == tokens - 1) if said is None else int(said)  # noqa: PLR2004 - more than one place
    return Tap(tuple(features.shape[1:]), prefix, prefix > 0 and (said is None or _class_token(network)))


def _class_token(network: Any) -> bool:
    return getattr(network, "cls_token", None) is not None


def _prefix(network: Any) -> bool:
    """Whether layers inside give their class token too."""
    return _class_token(network) and "return_prefix_tokens" in inspect.signature(network.forward_intermediates).parameters


def take(network: Any, pixels: Any, heads: Sequence[Head]) -> list[Late]:
    """What each head takes, in one pass, which ends at the deepest layer that is wanted."""
    final, inner = _pass(network, pixels, [str(head.layer) for head in heads])
    vectors: Any = network.forward_head(final, pre_logits=True) if any(head.layer == PENULTIMATE for head in heads) else None
    outputs = []
    for head in heads:
        if head.layer == PENULTIMATE:
            outputs.append(taken(vectors, Tap(tuple(vectors.shape[1:])), head))
        elif head.layer == FEATURES:
            outputs.append(taken(final, features_tap(network, final), head))
        else:
            outputs.append(_inner(inner[str(head.layer)], head))
    return outputs


def _inner(given: Any, head: Head) -> Late:
    """Of a layer's map, or of its map and the tokens before it."""
    grid, tokens = given if isinstance(given, tuple) else (given, None)
    if head.pooling == "cls" and tokens is not None:
        return taken(tokens, Tap(tuple(tokens.shape[1:]), cls=True), head)
    return taken(grid, Tap(tuple(grid.shape[1:])), head)


def _pass(network: Any, pixels: Any, wanted: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The features, if anything of `wanted` needs them, and each layer inside by its name."""
    known = names(network)
    inner = sorted({known.index(name) for name in wanted if name not in {PENULTIMATE, FEATURES}})
    if not inner:
        return network.forward_features(pixels), {}
    short = not {PENULTIMATE, FEATURES} & set(wanted)
    prefix = {"return_prefix_tokens": True} if _prefix(network) else {}
    given = network.forward_intermediates(pixels, indices=inner, intermediates_only=short, stop_early=short, **prefix)
    final, maps = (None, given) if short else given
    return final, {known[index]: one for index, one in zip(inner, maps, strict=True)}


def everything(network: Any, pixels: Any) -> list[Any]:
    """Every output that a head could take, for a check that a changed network still gives the same."""
    final, inner = network.forward_intermediates(pixels)
    return [network.forward_head(final, pre_logits=True), *([final] if isinstance(final, torch.Tensor) else []), *inner]


def build(architecture: str, args: dict[str, Any], pretrained: dict[str, Any], weights: Path | None, model: str) -> Any:
    """A network in float32, with the weights of a file, or with none (None).

    Raises:
        ConfigError: timm has no such architecture, or the weights are broken or not this network's.
    """
    if not timm.is_model(architecture):
        raise ConfigError(f"model {model}: timm {timm.__version__} has no architecture `{architecture}`", hint="upgrade `timm`")
    stated = {**pretrained, "custom_load": False, "source": "file", "file": None if weights is None else str(weights)}
    try:
        network = timm.create_model(architecture, pretrained=weights is not None, pretrained_cfg=stated, **args)
    except Exception as error:  # noqa: BLE001 - whatever the library raises here, the files are not a model that it can load
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        problem = "do not fit in memory" if is_out_of_memory(error) else f"could not be loaded ({said})"
    else:
        return network.eval()
    where = f"in {weights}" if weights is not None else "as config.json describes them"
    raise ConfigError(f"model {model}: the weights {where} {problem}", hint="download the model again, or upgrade `timm`")
