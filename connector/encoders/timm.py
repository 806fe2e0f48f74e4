"""Image encoders of the `timm` library: what they give is known from JSON files, their weights are loaded by `open`.

A vector is what the network hands to its classifier (the penultimate layer), pooled by the network's own head. So it is as long as the
classifier is wide: 1,280 numbers for MobileNetV3 or EfficientViT, whose heads have a layer behind the pooling, where timm's `num_features`
(the channels before the pooling) are fewer. The same numbers come from `timm.create_model(name, num_classes=0)`.

A head may name another layer: `features`, which is what `forward_features` gives, or one of timm's feature layers (`layer3`, `stages.1`,
`blocks.11`; a number counts through them, -1 is the last). It is pooled over its positions, or given whole: one vector a position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.locate import Located, locate
from connector.encoders.resizing import ImagePreparer
from connector.encoders.taps import Tap, Taps
from connector.encoders.timm_config import hub_name, read_dim, read_layers, read_network, read_preprocessing
from connector.encoders.weights import weights_hash
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import DeviceSpec, Head, Prepared, Role, TextLimits

PENULTIMATE, FEATURES = "penultimate", "features"


class TimmEncoder(FolderEncoder):
    """Pictures to vectors, by a model of timm: a plain name, a model of the Hugging Face Hub, a folder, or an installed package.

    Args:
        model: A name of timm's (`resnet50`, `resnet50.a1_in1k`), which stands for a Hub model; `org/name` or `hf-hub:org/name`, with
            `@revision` where wanted; a folder with config.json and model.safetensors (`./folder`, `local-dir:folder`); or
            `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a Hub model.
        max_pixels: Larger pictures are rejected before anything of them is decoded.
        draft: Decode large JPEGs at a half, a quarter or an eighth of their size. Quicker, and other vectors: see docs/encoders.md.
        fast: Decode and resize in a third of the time. Vectors differ by about as much as bfloat16's do: see docs/encoders.md.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it needs what this encoder does not do.
    """

    kind = "timm"
    inputs = frozenset({"image"})
    text: TextLimits | None = None

    def __init__(
        self, model: str, revision: str | None = None, max_pixels: int = MAX_PIXELS, *, draft: bool = False, fast: bool = False
    ) -> None:
        located = _located(model, revision)
        super().__init__(located)
        self._network = read_network(located.folder, located.name)
        self._how = read_preprocessing(self._network, located.name)
        self._dim = read_dim(located.folder, self._network, located.name)
        self._prepare = ImagePreparer(self._how, max_pixels, draft, fast)
        self.model = self._identity(self._prepare.identity())

    def _hash(self) -> str:
        """Of weights and architecture."""
        files = weights_hash(self._files(self._located.folder))
        return hashlib.blake2b(f"{files}\0{self._network.identity()}".encode(), digest_size=16).hexdigest()

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every input has the same size
        """One vector a position of the head's layer."""
        return self._offer(head).positions(head)

    def _offer(self, head: Head) -> Taps:
        """The layers; those inside are asked for only when one is named, for that may need torch."""
        layers = {PENULTIMATE: Tap((self._dim,))}
        if head.layer in {None, PENULTIMATE}:
            return Taps(self._name, layers)
        inner = read_layers(self._network, self._how.size, self._name)
        names = [name for name in inner if name != FEATURES]
        numbers = {str(number): name for place, name in enumerate(names) for number in (place, place - len(names))}
        return Taps(self._name, layers | inner, numbers)

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike, pictures only
        return self._prepare

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        from connector.encoders.image_model import load

        return load(self._network, self._files(root)[0], self._name, device, self._how)


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
