"""Linear layers after the pooling, loaded from a folder of sentence-transformers. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from connector.encoders.sentence_modules import Projection
from connector.encoders.weights import check_loadable, check_weights
from connector.errors import ConfigError


class Projections(torch.nn.Module):  # type: ignore[misc]  # torch's types are not read
    """Layers one after the other, in float32: they work on one vector an input, so their time is nothing.

    Args:
        stated: As the folder states them.
        name: Of the model, for messages.
        pickle: Whether weights that are pickled may be read.

    Raises:
        ConfigError: Weights are missing, broken, pickled or not those that are stated.
    """

    def __init__(self, stated: Sequence[Projection], name: str, *, pickle: bool) -> None:
        super().__init__()
        self._stated = list(stated)
        self._layers = torch.nn.ModuleList(_layer(one, name, pickle=pickle) for one in stated)

    def forward(self, vectors: Any) -> Any:
        """(n, inputs of the first) to (n, outputs of the last)."""
        for one, layer in zip(self._stated, self._layers, strict=True):
            given, vectors = vectors, layer["activation"](layer["linear"](vectors))
            if one.residual:
                vectors = vectors + (layer["residual"](given) if "residual" in layer else given)
        return vectors


def _layer(one: Projection, name: str, *, pickle: bool) -> Any:
    activation = getattr(torch.nn, one.activation, None)
    if activation is None:
        raise ConfigError(f"model {name}: torch has no activation {one.activation}", hint="choose another model")
    layer = torch.nn.ModuleDict({"linear": torch.nn.Linear(one.inputs, one.outputs, bias=one.bias), "activation": activation()})
    if one.residual and one.inputs != one.outputs:
        layer["residual"] = torch.nn.Linear(one.inputs, one.outputs, bias=False)
    try:
        layer.load_state_dict(_read(one, name, pickle=pickle))
    except RuntimeError:
        problem = f"model {name}: the weights in {one.folder.name} are not those that its config.json states"
        raise ConfigError(problem, hint="download the model again") from None
    return layer.eval()


def _read(one: Projection, name: str, *, pickle: bool) -> dict[str, Any]:
    [file] = check_weights(one.folder, name)
    check_loadable([file], name, pickle=pickle)
    try:
        if file.suffix != ".safetensors":
            tensors = torch.load(file, map_location="cpu", weights_only=True)
        else:
            from safetensors.torch import load_file

            tensors = load_file(file)
    except Exception as error:  # noqa: BLE001 - each reader has its own errors; all mean that the file is no good
        problem = type(error).__name__
    else:
        return {key: tensor.float() for key, tensor in tensors.items()}
    raise ConfigError(f"model {name}: {one.folder.name}/{file.name} cannot be read ({problem})", hint="download the model again")
