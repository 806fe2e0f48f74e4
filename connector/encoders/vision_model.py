"""Runs a loaded vision network of transformers: pixels in, one float32 vector a head and picture out, all heads of one pass.

A masked autoencoder hides most of a picture and shuffles the rest while it is trained. Here it hides nothing, and is given rising
numbers in the place of the random ones by which it would shuffle, so that every patch stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from connector.encoders.image_model import ImageModel, Scale, part_of
from connector.encoders.pretrained import pretrained
from connector.encoders.vectors import Late, finished, pooled
from connector.encoders.vision_types import LAST, OWN, VisionModelDescription
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, Output, Prepared


def load(folder: Path, about: VisionModelDescription, spec: DeviceSpec, how: Scale) -> VisionModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    random: list[str] = []

    def unused(key: str) -> bool:
        random.append(key)
        return "pooler." in key or key.endswith("mask_token")

    network, precision = pretrained(transformers.AutoModel, folder, about.name, spec, unused=unused)
    if about.type == "vit_mae":
        network.config.mask_ratio = 0.0
    take = partial(_take, about=about)
    model = VisionModel(network, take, about.name, precision, how, part_of(spec, network.device), network.device)
    model.pooler = not any("pooler." in key for key in random)
    return model


class VisionModel(ImageModel):
    """A vision network of transformers on one device; used by one thread at a time.

    Attributes:
        pooler: False if its weights hold no pooler, so that what it has is random.
    """

    pooler = True

    def submit(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Callable[[], list[Output]]:
        """As for every model.

        Raises:
            ConfigError: A head asks for the model's own pooler, and the weights hold none.
            EncodeError: It is closed.
        """
        if not self.pooler and any(head.pooling == OWN for head in heads):
            raise ConfigError(f"model {self._name}: its weights hold no pooler", hint="use pooling cls or mean")
        return super().submit(items, heads)


def _take(network: Any, pixels: Any, heads: Sequence[Head], *, about: VisionModelDescription) -> list[Late]:
    """What each head takes in one pass."""
    given: dict[str, Any] = {"output_hidden_states": any(head.layer != LAST for head in heads)}
    if about.type == "vit_mae":
        patches = network.embeddings.patch_embeddings.num_patches
        given["noise"] = torch.arange(patches, dtype=torch.float32, device=pixels.device).expand(len(pixels), -1)
    output = network(pixels, **given)
    return [_head(output, head, about.prefix) for head in heads]


def _head(output: Any, head: Head, prefix: int) -> Late:
    if head.pooling == OWN:
        return finished(output.pooler_output, head)
    hidden = output.last_hidden_state if head.layer == LAST else output.hidden_states[int(str(head.layer))]
    if hidden.ndim == 4:  # noqa: PLR2004 - a convolution's (n, dim, height, width)
        hidden = hidden.flatten(2).transpose(1, 2)
    patches = hidden if head.pooling == "cls" else hidden[:, prefix:]
    return pooled(patches, torch.ones(patches.shape[:2], dtype=torch.int64, device=patches.device), head)
