"""Decodes and resizes pictures in a third of Pillow's time: JPEGs by simplejpeg, where it is installed, and all by torch's resampling.

Both use vector instructions and leave the interpreter to other threads. A JPEG decodes to Pillow's pixels, for the library beneath is the
same, so whether simplejpeg is there changes nothing but time. Resized, three numbers in a thousand are one step of 255 off, because torch
rounds a filter's weights to 16 bits and Pillow to 22; it adds up integers, so every processor comes to the same. That makes other vectors,
if only just, so it has to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from connector.encoders.images import Enough, encoded, load_image, opened
from connector.files.pictures import MAX_PIXELS, orientation

FAST = 1
"""Version of what comes out. Count it up when the same bytes come to give other pixels."""

MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
"""torch's names of the filters that it has for eight-bit numbers; the others are Pillow's."""

_UPRIGHT: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""By EXIF orientation what turns the stored pixels as a viewer shows them (Exif 2.32, tag 0x0112)."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An RGB picture as an array, with what resizing asks of an image.

    Attributes:
        array: (height, width, 3) of uint8, contiguous and writable, as torch wants it.
    """

    array: npt.NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.array.shape[0])

    def whole(self) -> Image.Image:
        """The picture as it is."""
        return Image.fromarray(self.array)

    def resize(self, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
        """The picture at another width and height."""
        if resample not in MODES:
            return self.whole().resize(size, resample)
        import torch

        pixels = torch.from_numpy(self.array).permute(2, 0, 1)[None]  # in memory still channels last
        wanted: dict[str, Any] = {"mode": MODES[resample], "antialias": True, "align_corners": False}
        made = torch.nn.functional.interpolate(pixels, size=size[::-1], **wanted)
        return Image.fromarray(np.ascontiguousarray(made[0].permute(1, 2, 0).numpy()))


def load_pixels(value: object, max_pixels: int = MAX_PIXELS, enough: Enough | None = None) -> Pixels:
    """What `load_image` makes of a value, and its errors.

    Args:
        value: As for `load_image`.
        max_pixels: Most pixels.
        enough: As for `load_image`, which then decodes JPEGs too.
    """
    data = encoded(value)
    found = _decoded(data, max_pixels) if isinstance(data, bytes) and enough is None else None
    return Pixels(np.array(load_image(data, max_pixels, enough)) if found is None else found)


def _decoded(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """The upright pixels of a JPEG in colour or grey; None: of anything else, or a damaged one, which is left to Pillow."""
    image = opened(data, max_pixels)
    if image.format != "JPEG" or image.mode not in {"RGB", "L"}:
        return None
    try:
        import simplejpeg

        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data)
    except (ImportError, ValueError):
        return None
    return np.ascontiguousarray(_UPRIGHT[orientation(image)](pixels)) if pixels.shape[1::-1] == image.size else None
