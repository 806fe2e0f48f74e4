"""Turns whatever a row holds as its picture into RGB pixels: decoded, upright, on white, eight bits a channel.

The rules are the same on every way in, so that a picture gives one vector whether it comes from a file, a table or a program. They have a
version, `RULES`, which is part of an encoder's identity: other pixels are other vectors. A truncated image is refused, because what Pillow
would fill in is grey, and a grey half is a different picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps

from connector.encoders.payloads import bytes_of
from connector.errors import ConfigError, DocumentError, RowError
from connector.files.pictures import MAX_PIXELS, open_image, orientation, shown_size

RULES = 1
"""Version of what `load_image` makes of an image. Count it up when the same bytes come to give other pixels."""

Enough: TypeAlias = Callable[[int, int], tuple[int, int]]
"""From the width and height of a picture, as it is shown, to the least width and height that will do."""

_WANTED = "images: encoded bytes, a path, a PIL image or an array"
_SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_PLAIN = frozenset({"1", "CMYK", "HSV", "L", "LAB", "P", "RGBX", "YCbCr"})
_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_FULL = np.iinfo(np.uint16).max


def load_image(value: object, max_pixels: int = MAX_PIXELS, enough: Enough | None = None) -> Image.Image:
    """The picture as RGB: the EXIF orientation applied, transparency on white, 16 bits scaled to 8, of an animation the first frame.

    Args:
        value: Encoded bytes; a PIL image; an array (height, width), (height, width, 3) or (height, width, 4) of uint8, or (height, width)
            of uint16; the path of a local file; or anything with a method `read(limit)` that gives the bytes.
        max_pixels: Most pixels; checked before any is decoded.
        enough: A JPEG that comes as bytes is decoded at a half, a quarter or an eighth of its size, the smallest that is no less than
            this. That is quicker, and gives other pixels than resizing the whole picture.

    Raises:
        RowError: It is no picture, a damaged one, or too large.
        ConfigError: Another library has told Pillow to fill in what truncated images lack.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        problem = "another library has set PIL.ImageFile.LOAD_TRUNCATED_IMAGES: truncated images would pass as whole ones"
        raise ConfigError(problem, hint="set it back to False")
    image = opened(encoded(value), max_pixels)
    try:
        if enough is not None and image.format == "JPEG" and image is not value:  # one of the caller's own stays as it is
            _draft(image, enough)
        image.load()
        return _rgb(_upright(image))
    except RowError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders of damaged images raise almost anything
        problem = f"a truncated or damaged image ({type(error).__name__})"
        raise RowError(problem, hint="restore the file, or exclude it") from None


def encoded(value: object) -> bytes | Image.Image | npt.NDArray[Any]:
    """The bytes of a value that is neither an image nor an array; what can be read once is read here.

    Raises:
        RowError: It is nothing that `load_image` takes, or cannot be read.
    """
    return value if isinstance(value, np.ndarray | Image.Image) else bytes_of(value, _WANTED, "image")


def opened(value: bytes | Image.Image | npt.NDArray[Any], max_pixels: int) -> Image.Image:
    """The image, not decoded yet.

    Raises:
        RowError: It is no picture, one with a damaged header, or too large.
    """
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if isinstance(value, Image.Image):
        if value.width * value.height > max_pixels:
            raise RowError(f"an image of {value.width:,} x {value.height:,} pixels, over max_pixels ({max_pixels:,})")
        return value
    try:
        return open_image(value, max_pixels)
    except DocumentError as error:
        raise RowError(error.message, hint=error.hint, retry=error.retry) from None


def _draft(image: Image.Image, enough: Enough) -> None:
    """Has a JPEG decoded small: its blocks of 8 x 8 pixels hold their coarse form in their first few coefficients."""
    shown = shown_size(image)
    width, height = enough(*shown)
    image.draft(None, (width, height) if shown == image.size else (height, width))


def _of_array(array: npt.NDArray[Any]) -> Image.Image:
    flat = array.ndim == 2  # noqa: PLR2004 - height and width
    if not array.size or not (flat and array.dtype in (np.uint8, np.uint16)):
        colours = array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] in (3, 4)  # noqa: PLR2004 - RGB or RGBA behind height and width
        if not array.size or not colours:
            wanted = "uint8 (height, width), (height, width, 3 or 4), or uint16 (height, width)"
            raise RowError(f"an array of {array.dtype} {array.shape}, wanted {wanted}")
    return Image.fromarray(np.ascontiguousarray(array))


def _upright(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it."""
    return image if orientation(image) == 1 else ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue, whatever it was."""
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format == "PNG"):
        numbers = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((numbers * 255 + _FULL // 2) // _FULL).astype(np.uint8)).convert("RGB")
    if image.mode in _ALPHA or image.has_transparency_data:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if image.mode == "RGB":
        return image
    if image.mode in _PLAIN:
        return image.convert("RGB")
    raise RowError(f"an image of mode {image.mode}, whose numbers have no agreed range", hint="convert it to 8 or 16 bits")
