"""Builds the user's own networks by calling their factory, lists their layers, and runs them. The module that imports torch for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from connector.encoders.folding import lowered
from connector.encoders.hooks import Watched, listed
from connector.encoders.image_model import ImageModel, part_of
from connector.encoders.resizing import Preprocessing
from connector.encoders.states import fill, read_tensors
from connector.encoders.taps import Tap
from connector.encoders.torch_device import dtype_of, resolve_device, resolve_precision
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec
from connector.usercode import named_function

FACTORY = "write module:package.file:factory, a function that returns a torch.nn.Module"


def layers(reference: str, args: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """The layers of a network without its weights; see `hooks.listed`.

    Raises:
        ConfigError: It cannot be built, or does not take an input of this shape.
    """
    problem = ""
    for device in ("meta", "cpu"):  # a factory may look at numbers, which the meta device does not have
        try:
            with torch.device(device):
                return dict(listed(_built(reference, args), shape, device))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    raise ConfigError(f"model {reference} cannot take an input of shape {list(shape)} ({problem})", hint="correct `shape`, or the network")


def _built(reference: str, args: Mapping[str, Any]) -> Any:
    factory = named_function(reference, "model", FACTORY)
    try:
        network = factory(**args)
    except TypeError as error:
        raise ConfigError(f"model {reference}: the factory does not take {sorted(args)} ({error})", hint="correct `args`") from error
    if not isinstance(network, torch.nn.Module):
        raise ConfigError(f"model {reference} returns a {type(network).__name__}, wanted a torch.nn.Module", hint=FACTORY)
    return network.eval()


def load(
    reference: str, args: dict[str, Any], file: Path, spec: DeviceSpec, how: Preprocessing | None, found: dict[str, Any]
) -> ModuleModel:
    """The network with the weights of a file, on the device of `spec`.

    Args:
        reference: `module:factory`.
        args: Of the factory.
        file: Holds the weights.
        spec: Where and how to compute.
        how: Mean and deviation of pictures; None: inputs come ready from the user's own function.
        found: What `layers` gives.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this network's.
    """
    device = resolve_device(spec.device)
    precision = resolve_precision(spec.precision, device)
    network = fill(_built(reference, args), read_tensors(file, reference), file, reference)
    network = lowered(network, dtype_of(precision)).to(device)
    taps = {name: Tap.from_json(tap) for name, tap in found["layers"].items()}
    watched = Watched(network, taps, found["places"])
    return ModuleModel(network, watched, reference, precision, how, part_of(spec, device), device)


class ModuleModel(ImageModel):
    """A network of the user's; used by one thread at a time.

    Args:
        network: In evaluation mode.
        watched: The same, with its layers in view.
        name: For messages.
        precision: What it computes in.
        how: Mean and deviation of pictures; None: inputs are ready.
        part: Numbers that go through it at once.
        device: Where it is.
    """

    inputs = "inputs"
    packs = False

    def __init__(
        self, network: Any, watched: Watched, name: str, precision: str, how: Preprocessing | None, part: int, device: torch.device
    ) -> None:
        super().__init__(network, watched.take, name, precision, how or Preprocessing((1, 1)), part, device)
        self._pictures = how is not None

    def _ready(self, pictures: Any) -> Any:
        """Laid out as torch lays tensors out, for a network may use `view`."""
        if self._pictures:
            return super()._ready(pictures).clone(memory_format=torch.contiguous_format)
        return pictures.to(self._dtype)
