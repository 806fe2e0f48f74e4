"""Your own network: a factory that returns an `nn.Module`, its weights, and how its inputs are made.

The factory's file and the weights are part of the identity by their hashes, so a changed network is seen. What only the network itself can
tell, its layers and how long their vectors are, is asked once of a network without weights, and remembered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from connector.encoders.asking import asked
from connector.encoders.folder_encoder import NetworkEncoder
from connector.encoders.images import RULES
from connector.encoders.own_inputs import OwnPreparer
from connector.encoders.resizing import CROPS, INTERPOLATIONS, ImagePreparer, Preprocessing
from connector.encoders.running import running
from connector.encoders.taps import Tap, Taps
from connector.encoders.weights import check_loadable, content_hash, file_hash, own_weights
from connector.errors import ConfigError, nearest
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import DeviceSpec, Head, Modality, Model, ModelIdentity, Prepared, Role, TextLimits
from connector.usercode import source_of

_FACTORY = "write module:package.file:factory, a function that returns a torch.nn.Module"
_PREPARE = "write package.file:function, or the name of a function beside the factory"
_GREY, _COLOUR = 1, 3


class ModuleEncoder(NetworkEncoder):
    """Inputs to vectors, by a network of the user's.

    Args:
        model: `package.file:factory`: a function without arguments, or with those of `args`, that returns an `nn.Module`. It is found as
            Python finds modules, and in the working directory.
        weights: A safetensors file with the network's `state_dict()`, or a folder that holds one.
        shape: Of one input: channels, height and width of pictures, or, with `prepare`, anything.
        args: Arguments of the factory.
        mean: Subtracted from each channel, whose values go from 0 to 1.
        std: Divides each channel afterwards.
        crop: `center` keeps a picture's ratio and cuts its longer side, `border` pads it, `squash` ignores the ratio.
        interpolation: How pictures are resized.
        prepare: In place of these: `package.file:function` (or its name, if it stands beside the factory), from one input to an array of
            `shape`. Pictures come as upright RGB images of PIL, so a transform of torchvision does.
        inputs: What it reads: `image`, or, with `prepare`, `text` or `audio`.
        max_pixels: Larger pictures are rejected before anything of them is decoded.
        draft: Decode large JPEGs at a half, a quarter or an eighth of their size. Quicker, and other vectors: see docs/encoders.md.
        fast: Decode and resize in a third of the time. Vectors differ by about as much as bfloat16's do: see docs/encoders.md.

    Raises:
        ConfigError: There is no such file or weights, or an option makes no sense.
    """

    text: TextLimits | None = None

    def __init__(  # noqa: PLR0913 - each is a key that a field may have
        self,
        model: str,
        weights: str,
        shape: list[int],
        *,
        args: dict[str, Any] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        crop: str = "center",
        interpolation: str = "bilinear",
        prepare: str | None = None,
        inputs: Modality = "image",
        max_pixels: int = MAX_PIXELS,
        draft: bool = False,
        fast: bool = False,
    ) -> None:
        self.inputs = frozenset({str(inputs)})
        self._name, self._args, self._shape, self._max_pixels = model, args or {}, list(shape), max_pixels
        self._source = file_hash(source_of(model, "model", _FACTORY))
        self._file = own_weights(weights, model)
        self._own = f"{model.partition(':')[0]}:{prepare}" if prepare and ":" not in prepare else prepare
        self._how = None if self._own else self._pictures(mean, std, crop, interpolation)
        if self._own and (mean or std or draft or fast):
            raise ConfigError(f"model {model}: `prepare` does what `mean`, `std`, `draft` and `fast` do", hint="give one or the other")
        self._prepare = ImagePreparer(self._how, max_pixels, draft, fast) if self._how else None
        self.model = ModelIdentity("module", model, "", content_hash(self._file), self._preprocessing())

    def _pictures(self, mean: list[float] | None, std: list[float] | None, crop: str, interpolation: str) -> Preprocessing:
        """How pictures are made ready without code of the user's."""
        shape = self._shape
        if self.inputs != {"image"}:
            raise ConfigError(f"model {self._name} reads {min(self.inputs)}, and nothing says how it is prepared", hint=_PREPARE)
        if len(shape) != 3 or shape[0] not in (_GREY, _COLOUR) or min(shape) < 1:  # noqa: PLR2004 - channels, height, width
            problem = f"model {self._name}: shape is {shape}, wanted [1, height, width] for grey pictures or [3, height, width]"
            raise ConfigError(problem, hint="correct `shape`, or set `prepare`")
        for value, valid in ((crop, CROPS), (interpolation, INTERPOLATIONS)):
            if value not in valid:
                raise ConfigError(f"model {self._name}: unknown `{value}`", hint=nearest(value, valid))
        numbers = [tuple(map(float, one)) if one else (default,) * shape[0] for one, default in ((mean, 0.0), (std, 1.0))]
        if any(len(one) != shape[0] for one in numbers) or 0 in numbers[1]:
            problem = f"model {self._name}: mean and std want {shape[0]} numbers each, one a channel, and a deviation is not 0"
            raise ConfigError(problem, hint="correct `mean` and `std`")
        return Preprocessing((shape[1], shape[2]), crop, 1.0, interpolation, mean=numbers[0], std=numbers[1])

    def _preprocessing(self) -> dict[str, Any]:
        how = self._prepare.identity() if self._prepare else self._prepared()
        return {"source": self._source, "args": self._args, "shape": self._shape, **how}

    def _prepared(self) -> dict[str, Any]:
        """The user's own function by name and by the hash of its file."""
        hashed = file_hash(source_of(str(self._own), f"model {self._name}: prepare", _PREPARE))
        rules = {"rules": RULES} if self.inputs == {"image"} else {}
        return {"prepare": f"{self._own}:{hashed}", "inputs": sorted(self.inputs), **rules}

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every input has the same size
        """One vector a position of the head's layer."""
        return self._offer(head).positions(head)

    def _offer(self, head: Head) -> Taps:  # noqa: ARG002 - all layers are known at once
        found = self._found()
        layers = {name: Tap.from_json(tap) for name, tap in found["layers"].items()}
        if not layers:
            raise ConfigError(f"model {self._name} gives no tensor (inputs, ...)", hint="return one from `forward`")
        refused = {name: f"is used {count} times in one pass: which is meant?" for name, count in found["repeated"].items()}
        return Taps(self._name, layers, found["aliases"], refused)

    def _found(self) -> dict[str, Any]:
        """What the network tells of its layers; remembered by the hash of its source."""

        def ask() -> Any:
            from connector.encoders import module_library

            return module_library.layers(self._name, self._args, self._shape)

        found: dict[str, Any] = asked("torch", "layers", [self._name, self._source, self._args, self._shape], ask)
        return found

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike, one kind of input
        if self._prepare is not None:
            return self._prepare
        return OwnPreparer(str(self._own), tuple(self._shape), self.inputs == {"image"}, self._max_pixels)

    def spread(self, device: DeviceSpec) -> list[DeviceSpec]:
        """Where each copy of the model goes."""
        from connector.encoders.torch_device import spread

        return spread(device)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports torch and the user's module and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this network's.
        """
        check_loadable([self._file], self._name, pickle=device.allow_pickle_weights)
        from connector.encoders.module_library import load

        with running(load(self._name, self._args, self._file, device, self._how, self._found()), self.model, device) as model:
            yield model
