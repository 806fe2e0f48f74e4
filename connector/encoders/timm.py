"""Image encoders of the `timm` library: what they give is known from JSON files, their weights are loaded by `open`.

A vector is what the network hands to its classifier (the penultimate layer), pooled by the network's own head. So it is as long as the
classifier is wide: 1,280 numbers for MobileNetV3 or EfficientViT, whose heads have a layer behind the pooling, where timm's `num_features`
(the channels before the pooling) are fewer. The same numbers come from `timm.create_model(name, num_classes=0)`.

A head may name another layer: `features`, which is what `forward_features` gives, or one of timm's feature layers (`layer3`, `stages.1`,
`blocks.11`; a number counts through them, -1 is the last). It is pooled over its positions, or given whole: one vector a position.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from connector.encoders.locate import Located, locate, with_weights
from connector.encoders.resizing import ImagePreparer
from connector.encoders.running import running
from connector.encoders.taps import Tap, Taps
from connector.encoders.timm_config import hub_name, read_dim, read_layers, read_network, read_preprocessing
from connector.encoders.weights import check_loadable, check_weights, weights_hash
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Model, ModelIdentity, Prepared, Role, TextLimits, VectorSpec
from connector.pictures import MAX_PIXELS

PENULTIMATE, FEATURES = "penultimate", "features"


class TimmEncoder:
    """Pictures to vectors, by a model of timm: a plain name, a model of the Hugging Face Hub, a folder, or an installed package.

    Args:
        model: A name of timm's (`resnet50`, `resnet50.a1_in1k`), which stands for a Hub model; `org/name` or `hf-hub:org/name`, with
            `@revision` where wanted; a folder with config.json and model.safetensors (`./folder`, `local-dir:folder`); or
            `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a Hub model.
        max_pixels: Larger pictures are rejected before anything of them is decoded.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it needs what this encoder does not do.
    """

    inputs = frozenset({"image"})
    text: TextLimits | None = None

    def __init__(self, model: str, revision: str | None = None, max_pixels: int = MAX_PIXELS) -> None:
        self._located = located = _located(model, revision)
        self._network = read_network(located.folder, located.name)
        self._how = read_preprocessing(self._network, located.name)
        self._dim = read_dim(located.folder, self._network, located.name)
        self._max_pixels = max_pixels
        self.model = ModelIdentity("timm", located.name, located.revision, self._weights(), self._how.identity())

    def _weights(self) -> str:
        """Hash of weights and architecture; a Hub model's commit stands for both."""
        if self._located.revision:
            return ""
        files = weights_hash(check_weights(self._located.folder, self._located.name))
        return hashlib.blake2b(f"{files}\0{self._network.identity()}".encode(), digest_size=16).hexdigest()

    def resolve(self, head: Head) -> Head:
        """The head with the model's defaults filled in.

        Raises:
            ConfigError: There is no such layer, pooling, dimension or type.
        """
        return self._taps(head).resolve(head)

    def spec(self, head: Head) -> VectorSpec:
        """A dense vector, of the layer's width or of `truncate_dim`; with pooling none, one a position.

        Raises:
            ConfigError: As `resolve`.
        """
        return self._taps(head).spec(head)

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every input has the same size
        """One vector a position of the head's layer."""
        return self._taps(head).positions(head)

    def _taps(self, head: Head) -> Taps:
        """The layers; those inside are asked for only when one is named, for that may need torch."""
        layers = {PENULTIMATE: Tap((self._dim,))}
        if head.layer in {None, PENULTIMATE}:
            return Taps(self._located.name, layers)
        inner = read_layers(self._network, self._how.size, self._located.name)
        names = [name for name in inner if name != FEATURES]
        numbers = {str(number): name for place, name in enumerate(names) for number in (place, place - len(names))}
        return Taps(self._located.name, layers | inner, numbers)

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - it reads nothing but pictures
        """Decodes, resizes and crops one picture; both roles alike."""
        if role not in get_args(Role):
            raise ConfigError(f"unknown role `{role}`", hint=nearest(role, get_args(Role)))
        return ImagePreparer(self._how, self._max_pixels)

    def pull(self) -> None:
        """Downloads what `open` needs, if it is a hub model.

        Raises:
            ConfigError: The Hub cannot be reached, or the model has no weights.
        """
        check_weights(with_weights(self._located), self._located.name)

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """Imports timm and torch and loads the weights; leaving the context frees them.

        Raises:
            ConfigError: The device or precision is not there, or the weights are missing, pickled or not this model's.
        """
        name = self._located.name
        files = check_weights(with_weights(self._located), name)
        check_loadable(files, name, pickle=device.allow_pickle_weights)
        from connector.encoders.image_model import load

        with running(load(self._network, files[0], name, device, self._how), self.model, device) as model:
            yield model


def _located(model: str, revision: str | None) -> Located:
    if model.startswith("local-dir:"):
        return locate(str(Path(model.removeprefix("local-dir:")).expanduser().absolute()), revision)
    for prefix in ("hf-hub:", "hf_hub:"):
        if model.startswith(prefix):
            return locate(model.removeprefix(prefix), revision)
    plain = not model.startswith(("package://", ".", "~")) and "/" not in model and not Path(model).is_dir()
    if not plain:
        return locate(model, revision)
    name, at, inline = model.partition("@")
    return locate(f"{hub_name(name)}{at}{inline}", revision)
