"""Runs a loaded pair of models: pictures or token ids in, vectors of one space out. Needs torch.

Items of one call are all of one kind; what they are shows in their data: pixels have three dimensions, token ids have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from connector.encoders.image_model import ImageModel, Scale, part_of
from connector.encoders.parts import cut
from connector.encoders.pretrained import pretrained
from connector.encoders.vectors import Late, finished
from connector.interfaces import DeviceSpec, Head, Prepared

_WORDS = 2
"""Dimensions of a batch of texts: (n, positions)."""


def load(folder: Path, name: str, spec: DeviceSpec, how: Scale) -> ClipModel:
    """Both models in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    network, precision = pretrained(transformers.AutoModel, folder, name, spec, unused=lambda _key: False)
    return ClipModel(network, _pictures, name, precision, how, part_of(spec, network.device), network.device)


class ClipModel(ImageModel):
    """Two models of one space on one device; used by one thread at a time."""

    inputs = "inputs"

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return super()._parts(items, most) if items[0].data.ndim > 1 else cut(items, most, self.device.type)

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        """Shorter texts are filled up with their own last token, the end: no position looks forward, and the first end is the one taken."""
        if items[0].data.ndim > 1:
            return super()._arrays(items)
        longest = max(len(item.data) for item in items)
        return (np.stack([np.pad(item.data, (0, longest - len(item.data)), mode="edge") for item in items]).astype(np.int64),)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        return super()._compute(tensors, heads) if tensors[0].ndim > _WORDS else self._words(tensors[0], heads)

    def _words(self, ids: Any, heads: Sequence[Head]) -> list[Late]:
        output = self._network.get_text_features(input_ids=ids)
        return [finished(output.pooler_output, head) for head in heads]


def _pictures(network: Any, pixels: Any, heads: Sequence[Head]) -> list[Late]:
    output = network.get_image_features(pixel_values=pixels)
    return [finished(output.pooler_output, head) for head in heads]
