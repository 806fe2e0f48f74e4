"""Asks timm what only timm knows, and builds its networks. The module that imports timm, and with it torch.

Weights are never fetched here: a network is built from what its config.json says and filled from the one file that was checked before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from connector.encoders.torch_device import is_out_of_memory
from connector.errors import ConfigError, nearest


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
