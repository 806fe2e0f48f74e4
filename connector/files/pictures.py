"""Opens an encoded image as far as its header and refuses what must not be decoded: other formats, too many pixels, no image at all.

Pillow has readers for some fifty formats, many of them hardly ever used and so hardly ever attacked by anyone but attackers; six are enough
here. The header is believed over a file's name, and the number of pixels is checked before any is decoded: a few hundred bytes
can ask for gigabytes.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from connector.errors import DocumentError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's names of the formats that are read."""

MAX_PIXELS = 64_000_000
"""Most pixels of an image: 192 MB once decoded. Pillow's own limit, from which on it warns, lies above (89,478,485)."""

_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in these bytes, its header read and nothing decoded; of an animation, its first frame.

    Args:
        data: An encoded image.
        max_pixels: Most pixels it may have.

    Raises:
        DocumentError: It is empty, no image of a format that is read, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise DocumentError("empty, not an image", hint="restore the file, or exclude it")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DocumentError(f"an image of over {Image.MAX_IMAGE_PIXELS:,} pixels", hint="make it smaller, or exclude it") from None
    except UnidentifiedImageError:
        hint = "convert it to JPEG, PNG or WebP, or exclude it"
        raise DocumentError(f"not an image in any format that is read ({', '.join(FORMATS)})", hint=hint) from None
    except Exception as error:  # noqa: BLE001 - readers of damaged headers raise almost anything
        raise DocumentError(f"a damaged image ({type(error).__name__})", hint="restore the file, or exclude it") from None
    pixels = image.width * image.height
    if pixels > max_pixels:
        problem = f"an image of {image.width:,} x {image.height:,} pixels, over max_pixels ({max_pixels:,})"
        raise DocumentError(problem, hint="make it smaller, or exclude it")
    return image


def shown_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as a viewer shows the image: its EXIF orientation may turn it by a quarter. Decodes nothing."""
    known = image.format != "PNG" or "exif" in image.info  # else Pillow would decode a PNG in search of a later EXIF chunk
    turned = known and orientation(image) in _TURNED
    return (image.height, image.width) if turned else (image.width, image.height)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or it cannot be read, as every viewer has it."""
    try:
        found = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - broken EXIF raises almost anything, and is no reason to refuse a picture
        return 1
    return found if found in range(1, 9) else 1
