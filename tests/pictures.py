"""Makes image files for tests: every format, and the ways in which one can be wrong."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def pixels(width: int = 40, height: int = 30, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth picture with a corner of its own, so that turning it shows: (height, width, 3)."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    picture = np.stack([x, y, (x + y + 40 * seed) / 2 % 256], axis=-1)
    picture[: height // 3, : width // 3] = (250, 10, 10)
    return picture.astype(np.uint8)


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """The same as an image."""
    return Image.fromarray(pixels(width, height, seed))


def varied(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """Pictures that are little like each other: coarse blocks of any colour."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image | None = None, kind: str = "JPEG", **options: Any) -> bytes:
    """An image as a file's bytes."""
    out = BytesIO()
    (image or picture()).save(out, kind, **options)
    return out.getvalue()


def animated(kind: str = "GIF") -> bytes:
    """Three frames: red, green, blue."""
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG of a few hundred bytes to a few kilobytes that says it has this many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 4096)) + chunk(b"IEND", b"")
