"""Image encoders of the `transformers` library: what they give is known from JSON files, their weights are loaded by `open`.

ViT, DeiT, DINOv2, BEiT, data2vec-vision, ViT-MAE (the encoder of the autoencoder, with every patch kept in its place), Swin and ConvNeXT;
each with the image processor that its folder describes. A vector is taken from any layer, of the class token or of the patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.heads import Offer
from connector.encoders.image_processor import read_processor
from connector.encoders.locate import locate
from connector.encoders.resizing import ImagePreparer
from connector.encoders.vision_types import TYPES, describe_vision
from connector.encoders.weights import network_hash, read_config, tensor_names, weight_files
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import DeviceSpec, Head, Prepared, Role, TextLimits

_OPTIONAL = frozenset({"beit", "deit", "vit"})
"""Types whose pooler is often left out of the weights."""


class TransformersImageEncoder(FolderEncoder):
    """Pictures to vectors, by a model of the Hugging Face Hub, of a folder or of an installed package.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
        max_pixels: Larger pictures are rejected before anything of them is decoded.
        draft: Decode large JPEGs at a half, a quarter or an eighth of their size. Quicker, and other vectors: see docs/encoders.md.
        fast: Decode and resize in a third of the time. Vectors differ by about as much as bfloat16's do: see docs/encoders.md.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it needs what this encoder does not do.
    """

    kind = "transformers-image"
    inputs = frozenset({"image"})
    text: TextLimits | None = None

    def __init__(
        self, model: str, revision: str | None = None, max_pixels: int = MAX_PIXELS, *, draft: bool = False, fast: bool = False
    ) -> None:
        super().__init__(locate(model, revision))
        folder = self._located.folder
        about = describe_vision(folder, self._name)
        self._how = read_processor(folder, self._name, TYPES[about.type].processor, about.size)
        names = tensor_names(weight_files(folder)) if about.type in _OPTIONAL else None
        self._about = about if names is None or any("pooler." in name for name in names) else replace(about, pooler=0)
        self._prepare = ImagePreparer(self._how, max_pixels, draft, fast)
        self.model = self._identity(self._prepare.identity())

    def _hash(self) -> str:
        """Of the weights and of what config.json says of their use."""
        folder = self._located.folder
        return network_hash(self._files(folder), read_config(folder, self._name))

    def _named(self, head: Head) -> Head:
        return replace(head, layer=self._about.layer(head.layer))

    def _offer(self, head: Head) -> Offer:
        return self._about.offer(str(head.layer), head.pooling)

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike, pictures only
        return self._prepare

    def positions(self, head: Head, prepared: Prepared) -> int:
        """One vector a patch of the head's layer."""
        height, width = prepared.data.shape[:2]
        return self._about.patches(str(self.resolve(head).layer), height, width)

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        from connector.encoders.vision_model import load

        return load(root, self._about, device, self._how)
