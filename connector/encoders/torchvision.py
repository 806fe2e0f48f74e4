"""Image networks of `torchvision.models`: everything of them that needs torch is asked once and remembered.

A vector is what the network hands to the layer that gives the classes, so ResNet50 gives 2,048 numbers and VGG16 4,096. A head may name
any other node, as `torchvision.models.feature_extraction` names them (`layer3.5.add`; `layer3` stands for the last node in it).

Weights are a safetensors file of the user's, or those of torchvision's own, which are pickled tensors (`.pth`) in torch's own cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from connector.encoders.asking import asked
from connector.encoders.folder_encoder import NetworkEncoder
from connector.encoders.resizing import ImagePreparer, Preprocessing
from connector.encoders.running import running
from connector.encoders.taps import Tap, Taps
from connector.encoders.torchvision_files import fetched, revision_of
from connector.encoders.weights import check_loadable, content_hash, own_weights, shapes
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Prepared, Role, TextLimits

PENULTIMATE = "penultimate"


class TorchvisionEncoder(NetworkEncoder):
    """Pictures to vectors, by a model of torchvision for pictures.

    Args:
        model: A name of `torchvision.models` (`resnet50`), with `@` and the name of weights where others than the best are wanted
            (`resnet50@IMAGENET1K_V1`).
        weights: A safetensors file with the `state_dict()` of this network, or a folder that holds one; preprocessing is still that of the
            weights named in `model`. Default: torchvision's own weights.
        max_pixels: Larger pictures are rejected before anything of them is decoded.
        draft: Decode large JPEGs at a half, a quarter or an eighth of their size. Quicker, and other vectors: see docs/encoders.md.
        fast: Decode and resize in a third of the time. Vectors differ by about as much as bfloat16's do: see docs/encoders.md.

    Raises:
        ConfigError: There is no such model, or no such weights.
    """

    inputs = frozenset({"image"})
    text: TextLimits | None = None

    def __init__(
        self, model: str, weights: str | None = None, max_pixels: int = MAX_PIXELS, *, draft: bool = False, fast: bool = False
    ) -> None:
        self._name, _, wanted = model.partition("@")
        self._about = about = _ask("about", self._name, wanted)
        self._own = None if weights is None else own_weights(weights, self._name)
        stated: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in about["preprocessing"].items()}
        self._how = Preprocessing(**stated)
        self._prepare = ImagePreparer(self._how, max_pixels, draft, fast)
        revision = "" if self._own else revision_of(about["weights"], about["url"])
        found = content_hash(self._own) if self._own else ""
        self.model = ModelIdentity("torchvision", self._name, revision, found, self._prepare.identity())

    def _classes(self) -> int | None:
        """How many classes the user's own weights tell apart; None: as many as torchvision's."""
        if self._own is None or self._own.suffix != ".safetensors":
            return None
        head = shapes(self._own, self._name).get(f"{self._about['head']}.weight")
        return head[0] if head else None

    def _offer(self, head: Head) -> Taps:  # noqa: ARG002 - all layers are known at once
        return self._taps()[0]

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every input has the same size
        """One vector a position of the head's layer."""
        return self._taps()[0].positions(head)

    def _taps(self) -> tuple[Taps, str]:
        """The layers, and the node behind the first of them."""
        found = _ask("layers", self._name, self._about["weights"], self._classes(), list(self._how.size))
        known = {name: Tap.from_json(tap) for name, tap in found["layers"].items()}
        first = found["penultimate"]
        layers = {PENULTIMATE: known.pop(first), **known}
        inside = {".".join(name.split(".")[:depth]): name for name in known for depth in range(1, name.count(".") + 1)}
        return Taps(self._name, layers, {**inside, first: PENULTIMATE}), first

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike, pictures only
        return self._prepare

    def pull(self) -> None:
        """Downloads torchvision's own weights, if they are used.

        Raises:
            ConfigError: They cannot be downloaded, or are not what torchvision says they are.
        """
        if self._own is None:
            fetched(self._about["url"], self._name)

    def spread(self, device: DeviceSpec) -> list[DeviceSpec]:
        """Where each copy of the model goes."""
        from connector.encoders.torch_device import spread

        return spread(device)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports torchvision and torch and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this model's.
        """
        file = self._own or Path(self._about["url"])
        check_loadable([file], self._name, pickle=device.allow_pickle_weights)
        file = self._own or fetched(self._about["url"], self._name)
        from connector.encoders.torchvision_model import load

        taps, first = self._taps()
        loaded = load(self._name, self._about["weights"], self._classes(), file, device, self._how, taps.layers, first)
        with running(loaded, self.model, device) as model:
            yield model


def _ask(what: str, *about: Any) -> Any:
    """One of torchvision's answers, by the name of the function that gives it."""

    def ask() -> Any:
        from connector.encoders import torchvision_library

        return getattr(torchvision_library, what)(*about)

    return asked("torchvision", what, about, ask)
