"""Brings a picture to the size that a model reads: resized and cropped exactly as timm's evaluation transform does it, without torch.

What comes out is still eight bits a channel, a quarter of the normalised floats; subtracting the mean and dividing by the deviation is left
to the device, which does it in no time. One odd step off the recipe that a model was trained with costs recall unseen, so nothing
here is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from connector.encoders.fastpixels import FAST, load_pixels
from connector.encoders.images import RULES, load_image
from connector.errors import RowError
from connector.files.pictures import MAX_PIXELS
from connector.interfaces import Prepared

INTERPOLATIONS = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")}
"""Names of resampling filters as timm writes them."""

_COLOURS = 3

DRAFT = 2
"""How many times as wide and high as the model wants it a picture that is drafted still is, at least: below that, resizing blurs it."""

CROPS = ("center", "squash", "border")
"""Keep the ratio and cut at the longer side; ignore the ratio; keep the ratio and pad."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a model wants its pictures.

    Attributes:
        size: Height and width in pixels.
        crop: One of `CROPS`.
        crop_pct: The share of the resized picture's side that is kept.
        interpolation: One of `INTERPOLATIONS`.
        mean: Subtracted from each channel, whose values go from 0 to 1; a single number makes pictures grey first.
        std: Divides each channel afterwards.
        resize: With a crop `center`, what the shorter side is brought to, in place of `size / crop_pct`.
    """

    size: tuple[int, int]
    crop: str = "center"
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: int | None = None

    def identity(self) -> dict[str, Any]:
        """All of it as JSON values, with the version of the decoding rules."""
        unused = "resize" if self.resize is None else "crop_pct"
        return {"rules": RULES, **{name: value for name, value in plain(self).items() if name != unused}}

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height before the crop, as `timm.data.transforms_imagenet_eval` comes to them."""
        wanted_height, wanted_width = (self.resize or math.floor(side / self.crop_pct) for side in self.size)
        if self.crop == "squash":
            return wanted_width, wanted_height
        if self.crop == "center" and wanted_height == wanted_width:
            short, long = sorted((width, height))
            longer = int(wanted_height * long / short)
            return (wanted_height, longer) if width <= height else (longer, wanted_height)
        ratios = height / wanted_height, width / wanted_width
        ratio = max(ratios) if self.crop == "border" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))

    def fitted(self, image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The RGB image, resized and cropped to exactly `size`.

        Raises:
            RowError: As `fitted`.
        """
        return fitted(image, self, max_pixels)


class Fitting(Protocol):
    """Any description that knows how to bring a picture to its size."""

    @property
    def mean(self) -> Sequence[float]:
        """Subtracted from each channel; a single one means a grey picture."""

    def identity(self) -> dict[str, Any]:
        """All of it as JSON values."""

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture of this size is resized to, before anything is cut off."""

    def fitted(self, image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The RGB image in the size that the model reads."""


@dataclass(frozen=True, slots=True)
class ImagePreparer:
    """Prepares one picture; picklable, because it is nothing but names and numbers.

    Attributes:
        how: What the model wants.
        max_pixels: Most pixels of a picture, before and after it is resized.
        draft: Whether JPEGs are decoded no larger than `DRAFT` times what they are resized to.
        fast: Whether pictures in colour are decoded and resized by `fastpixels`.
    """

    how: Fitting
    max_pixels: int = MAX_PIXELS
    draft: bool = False
    fast: bool = False

    def identity(self) -> dict[str, Any]:
        """What decides over the pixels, as JSON values."""
        return self.how.identity() | ({"draft": DRAFT} if self.draft else {}) | ({"fast": FAST} if self._fast else {})

    def __call__(self, value: object) -> Prepared:
        """An array (height, width, 3) of uint8, or (height, width, 1) where the model reads grey; its number of pixels is the cost.

        Raises:
            RowError: The value is no picture, a damaged one, or one too large.
        """
        image = self._image(value)
        image = image.convert("L").convert("RGB") if self._grey else image
        pixels = np.asarray(self.how.fitted(image, self.max_pixels))
        pixels = np.ascontiguousarray(pixels[..., :1]) if self._grey else pixels
        return Prepared(pixels, pixels.shape[0] * pixels.shape[1], pixels.nbytes)

    @property
    def _grey(self) -> bool:
        return len(self.how.mean) == 1

    @property
    def _fast(self) -> bool:
        return self.fast and not self._grey

    def _image(self, value: object) -> Any:
        """The picture as an image of Pillow, or, to be resized by torch, as `Pixels`."""
        enough = self._enough if self.draft else None
        if not self._fast:
            return load_image(value, self.max_pixels, enough)
        pixels = load_pixels(value, self.max_pixels, enough)
        return pixels.whole() if self.how.scaled(*pixels.size) == pixels.size else pixels

    def _enough(self, width: int, height: int) -> tuple[int, int]:
        across, down = self.how.scaled(width, height)
        return DRAFT * across, DRAFT * down


def fitted(image: Image.Image, how: Preprocessing, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The RGB image, resized and cropped to exactly `how.size`.

    Raises:
        RowError: It is so long and thin that resizing its shorter side makes it huge.
    """
    size = how.scaled(*image.size)
    check_size(image, size, max_pixels)
    if size != image.size:
        image = image.resize(size, INTERPOLATIONS[how.interpolation])
    red, green, blue = (round(255 * one) for one in (how.mean if len(how.mean) == _COLOURS else how.mean * _COLOURS))
    fill = (red, green, blue) if how.crop == "border" else (0, 0, 0)
    return _cropped(image, how.size, fill)


def check_size(image: Image.Image, size: tuple[int, int], max_pixels: int) -> None:
    """Refuses to resize an image to a width and height of more than `max_pixels`.

    Raises:
        RowError: It would have more: it is long and thin.
    """
    if size[0] * size[1] > max_pixels:
        problem = f"an image of {image.width:,} x {image.height:,} pixels, too long and thin to be resized"
        raise RowError(problem, hint="cut it into parts, or exclude it")


def plain(how: Any) -> dict[str, Any]:
    """The attributes of a description (a dataclass) as JSON values."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(how).items()}


def _cropped(image: Image.Image, size: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    """The middle of the image; where the image is smaller, it is padded first."""
    height, width = size
    if width > image.width or height > image.height:
        canvas = Image.new("RGB", (max(width, image.width), max(height, image.height)), fill)
        canvas.paste(image, (max(0, (width - image.width) // 2), max(0, (height - image.height) // 2)))
        image = canvas
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
