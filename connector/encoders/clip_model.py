"""Runs a loaded pair of models: pictures or token ids in, vectors of one space out. Needs torch.

Items of one call are all of one kind; what they are shows in their data: pixels have three dimensions, token ids have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from connector.encoders.image_model import ImageModel, Scale, part_of
from connector.encoders.pretrained import pretrained
from connector.encoders.text_model import cut
from connector.encoders.vectors import finished, joined
from connector.interfaces import DeviceSpec, Head, Output, Prepared


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

    def _forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        if items[0].data.ndim > 1:
            return super()._forward(items, heads)
        parts = self._lanes.map(lambda part: self._words([item.data for item in part], heads), cut(items, self._part))
        return [joined(outputs) for outputs in zip(*parts, strict=True)]

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def _words(self, texts: list[Any], heads: Sequence[Head]) -> list[Output]:
        """Shorter texts are filled up with their own last token, the end: no position looks forward, and the first end is the one taken."""
        longest = max(map(len, texts))
        ids = np.stack([np.pad(one, (0, longest - len(one)), mode="edge") for one in texts]).astype(np.int64)
        output = self._network.get_text_features(input_ids=torch.from_numpy(ids).to(self._device))
        return [finished(output.pooler_output, head) for head in heads]


def _pictures(network: Any, pixels: Any, heads: Sequence[Head]) -> list[Output]:
    output = network.get_image_features(pixel_values=pixels)
    return [finished(output.pooler_output, head) for head in heads]
