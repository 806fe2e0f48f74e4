"""Fills a network with the tensors of a file, whole or not at all. Needs torch.

A layer left at random gives vectors that look right, so every tensor has to be there in its own shape, and none may be left over. What is
pickled is read by torch's restricted unpickler, which makes nothing but tensors and plain containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from connector.encoders.torch_device import is_out_of_memory
from connector.errors import ConfigError

_HINT = "export the weights again from the network that they belong to"


def read_tensors(file: Path, model: str) -> Mapping[str, Any]:
    """The tensors of a file by name, on the CPU. Whether it may be unpickled was asked before.

    Raises:
        ConfigError: It is broken, or holds something else than tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise here, the file is not one that can be loaded
        problem = "do not fit in memory" if is_out_of_memory(error) else f"could not be loaded ({type(error).__name__})"
        raise ConfigError(f"model {model}: the weights in {file} {problem}", hint=_HINT) from None
    if isinstance(found, Mapping) and all(isinstance(one, torch.Tensor) for one in found.values()):
        return found
    problem = "holds no tensors by name, wanted what `state_dict()` gives"
    raise ConfigError(f"model {model}: {file} {problem}", hint="save network.state_dict() with safetensors.torch.save_file")


def fill(network: Any, tensors: Mapping[str, Any], file: Path, model: str) -> Any:
    """The network in float32 and in evaluation mode, with these very tensors; it may be on the meta device if they are all that it has.

    Raises:
        ConfigError: A tensor is missing, is left over, or has another shape.
    """
    own = network.state_dict()
    lists = {
        "missing": [name for name in own if name not in tensors],
        "not of this network": [name for name in tensors if name not in own],
        "of another shape": [name for name, one in tensors.items() if name in own and one.shape != own[name].shape],
    }
    wrong = [f"{len(names)} tensors are {what}, such as {names[0]}" for what, names in lists.items() if names]
    if wrong:
        raise ConfigError(f"model {model}: the weights in {file} are not this network's: {'; '.join(wrong)}", hint=_HINT)
    versions = getattr(tensors, "_metadata", own._metadata)  # noqa: SLF001 - safetensors files have none: they are as new as the network
    own.update(tensors)
    own._metadata = versions  # noqa: SLF001 - a few networks of torchvision read theirs
    network.load_state_dict(own, assign=True)
    return network.float().eval()
