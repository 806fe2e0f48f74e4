"""CLIP and SigLIP: words and pictures to vectors of one space, so that either finds the other.

A field may hold pictures or texts; both are searched by words and by picture. One set of weights serves all fields that name the same
model. Vectors are what `get_text_features` and `get_image_features` of transformers give, projection included; they are scaled to unit
length unless the head says otherwise, which transformers leaves to its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from connector.encoders.clip_config import Padding, describe_pair
from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.heads import Offer
from connector.encoders.image_processor import read_processor
from connector.encoders.locate import locate
from connector.encoders.resizing import ImagePreparer
from connector.encoders.tokens import TextPreparer, load_tokenizer
from connector.encoders.vision_types import OWN
from connector.encoders.weights import file_hash, network_hash, read_config
from connector.errors import ConfigError, nearest
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import DeviceSpec, Head, ModelIdentity, Prepared, Role, TextLimits

LAYERS = ("projection",)
POOLINGS = (OWN,)
"""The space that both models share, and how each comes to its one vector."""

_PROCESSORS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}


class ClipEncoder(FolderEncoder):
    """Words and pictures to vectors, by a model of the Hugging Face Hub, of a folder or of an installed package.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
        max_pixels: Larger pictures are rejected before anything of them is decoded.
        draft: Decode large JPEGs at a half, a quarter or an eighth of their size. Quicker, and other vectors: see docs/encoders.md.
        fast: Decode and resize in a third of the time. Vectors differ by about as much as bfloat16's do: see docs/encoders.md.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it needs what this encoder does not do.
    """

    kind = "clip"
    inputs = frozenset({"text", "image"})

    def __init__(
        self, model: str, revision: str | None = None, max_pixels: int = MAX_PIXELS, *, draft: bool = False, fast: bool = False
    ) -> None:
        super().__init__(locate(model, revision))
        folder = self._located.folder
        self._about = about = describe_pair(folder, self._name)
        self._how = read_processor(folder, self._name, _PROCESSORS[about.type], about.size)
        self._tokenizer = folder / "tokenizer.json"
        special = load_tokenizer(self._tokenizer).num_special_tokens_to_add(is_pair=False)
        self.text: TextLimits | None = TextLimits(self._tokenizer, about.max_tokens - special)
        self._prepare = ImagePreparer(self._how, max_pixels, draft, fast)
        self.model: ModelIdentity = self._identity({"image": self._prepare.identity(), "text": self._reading()})

    def _hash(self) -> str:
        """Of the weights and of what config.json says of their use."""
        folder = self._located.folder
        return network_hash(self._files(folder), read_config(folder, self._name))

    def _reading(self) -> dict[str, Any]:
        """Everything done to a text, as JSON values."""
        about = self._about
        reading: dict[str, Any] = {"tokenizer": file_hash(self._tokenizer), "max_tokens": about.max_tokens}
        if about.lowercase:
            reading["lowercase"] = True
        if about.padding:
            reading["padding"] = {"token": about.padding.token, "left": about.padding.left}
        return reading

    def _offer(self, head: Head) -> Offer:  # noqa: ARG002 - there is one layer
        return Offer(self._name, self._about.dim, LAYERS, POOLINGS, normalize=True)

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike
        if modality == "image":
            return self._prepare
        if modality not in (None, "text"):
            raise ConfigError(f"model {self._name} does not read {modality}", hint=nearest(str(modality), self.inputs))
        about = self._about
        return WordsPreparer(TextPreparer(self._tokenizer, about.max_tokens, "", about.lowercase), about.padding, about.token_cost)

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        from connector.encoders.clip_model import load

        return load(root, self._name, device, self._how)


@dataclass(frozen=True)
class WordsPreparer:
    """Prepares one text for a model that reads pictures too; picklable.

    Attributes:
        tokens: Makes the token ids.
        padding: How the text is filled up.
        token_cost: Pixels that cost as much as a token, so that one budget holds for both kinds of input.
    """

    tokens: TextPreparer
    padding: Padding | None
    token_cost: int

    def __call__(self, text: object) -> Prepared:
        """Token ids (int32), filled up if the model wants it; what they cost counts in pixels.

        Raises:
            RowError: The input is no text, is blank, or is not valid Unicode.
        """
        prepared = self.tokens(text)
        ids = prepared.data if self.padding is None else _filled(prepared.data, self.padding)
        return replace(prepared, data=ids, cost=len(ids) * self.token_cost, nbytes=ids.nbytes)


def _filled(ids: Any, padding: Padding) -> Any:
    filled = np.full(padding.length, padding.token, dtype=ids.dtype)
    filled[padding.length - len(ids) if padding.left else 0 :][: len(ids)] = ids
    return filled
