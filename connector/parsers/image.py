"""Takes an image as it is: one row with its encoded bytes, its width and its height. Pixels are decoded later, by the encoder.

Decoded pixels are ten times the size of the file, and are needed for a moment only; so what travels is the file. Its content decides what
it is, not its name. Text and titles are not looked for in an image: `title` is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.errors import ConfigError
from connector.files.pictures import MAX_PIXELS, open_image, shown_size

if TYPE_CHECKING:
    from connector.record import Payload, Row


class ImageParser:
    """JPEG, PNG, WebP, GIF, BMP and TIFF.

    An animation, or a file of several pages, counts as its first picture.

    Args:
        max_pixels: Larger images are rejected before anything of them is decoded.
    """

    media_types = frozenset({"image/bmp", "image/gif", "image/jpeg", "image/png", "image/tiff", "image/webp"})

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        if max_pixels < 1:
            raise ConfigError(f"max_pixels is {max_pixels}, wanted 1 or more", hint="correct max_pixels")
        self._max_pixels = max_pixels

    def parse(self, payload: Payload) -> list[Row]:
        """One row: `image` (the encoded bytes), `width` and `height` in pixels as shown, `title` (empty).

        Raises:
            DocumentError: The bytes are no image, or one with more pixels than allowed. Damage behind the header is found when
                the image is decoded, and rejects the row then.
        """
        data = payload.data or b""
        with open_image(data, self._max_pixels) as image:
            width, height = shown_size(image)
        return [{"image": data, "width": width, "height": height, "title": ""}]
