"""The quick way to pixels: decoded to Pillow's bits, resized to within a step of 255, and refused like any other."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from connector.encoders.fastpixels import load_pixels
from connector.encoders.images import load_image
from connector.encoders.resizing import ImagePreparer, Preprocessing
from connector.errors import RowError

SIZE = (331, 250)


def drawn(size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """A picture with smooth parts, edges and noise."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).astype(int) + rng.integers(-20, 20, (size[1], size[0], 3))
    pixels[size[1] // 3 : size[1] // 2, size[0] // 4 : size[0] // 3] = 255
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """As a file."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG whose EXIF turns it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(drawn(), exif=exif)


KINDS = {
    "quality 30": encoded(drawn(), quality=30),
    "4:4:4": encoded(drawn(), quality=97, subsampling=0),
    "4:2:2": encoded(drawn(), subsampling=1),
    "4:2:0": encoded(drawn(), subsampling=2),
    "progressive": encoded(drawn(), progressive=True),
    "one pixel": encoded(drawn((1, 1))),
    "odd": encoded(drawn((17, 3)), subsampling=2),
    "grey": encoded(drawn(mode="L")),
    "CMYK": encoded(drawn(mode="CMYK")),
    "PNG": encoded(drawn(), "PNG"),
    "PNG with transparency": encoded(drawn(mode="RGBA"), "PNG"),
    "GIF": encoded(drawn(), "GIF"),
    **{f"orientation {number}": turned(number) for number in range(1, 9)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_pixels_are_pillows(kind: str) -> None:
    """To the bit, whatever the file is, and upright."""
    found = load_pixels(KINDS[kind])
    assert found.array.flags.c_contiguous
    assert (found.array == np.asarray(load_image(KINDS[kind]))).all()


def test_jpegs_take_the_quick_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow decodes none that the other decoder takes: else all of this would be in vain."""
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail(f"Pillow decoded a {image.format}"))
    assert load_pixels(KINDS["4:2:0"]).size == SIZE
    assert load_pixels(KINDS["orientation 6"]).size == SIZE[::-1]
    assert load_pixels(KINDS["grey"]).size == SIZE


def test_images_and_arrays_of_the_callers_own() -> None:
    """As the slow way takes them."""
    for value in (drawn(), drawn(mode="RGBA"), np.asarray(drawn()), np.asarray(drawn(mode="L")), BytesIO(KINDS["4:2:0"])):
        again = BytesIO(KINDS["4:2:0"]) if isinstance(value, BytesIO) else value
        assert (load_pixels(value).array == np.asarray(load_image(again))).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "most"), [((64, 64), 1), ((200, 90), 1), ((400, 500), 2)])
def test_resized_pixels_are_a_step_off_at_most(interpolation: str, size: tuple[int, int], most: int) -> None:
    """And few of them, where the ratio is kept, which is what crops in the middle do; two steps where a picture grows."""
    how = Preprocessing(size, interpolation=interpolation)
    slow, fast = (ImagePreparer(how, fast=fast)(KINDS["4:2:0"]) for fast in (False, True))
    off = np.abs(slow.data.astype(int) - fast.data.astype(int))
    assert (slow.cost, slow.nbytes) == (fast.cost, fast.nbytes)
    assert off.max() <= most
    assert (off > 0).mean() < 0.01


def test_what_torch_cannot_resize_is_pillows() -> None:
    """Other filters, a picture that has its size already, and a grey one."""
    for how in (
        Preprocessing((64, 64), interpolation="lanczos"),
        Preprocessing((64, 64), interpolation="box"),
        Preprocessing((SIZE[1], SIZE[0]), crop_pct=1.0),
        Preprocessing((64, 64), mean=(0.5,), std=(0.5,)),
    ):
        slow, fast = (ImagePreparer(how, fast=fast)(KINDS["4:2:0"]).data for fast in (False, True))
        assert (slow == fast).all()


def test_it_is_part_of_the_identity() -> None:
    """Only where it changes pixels: a grey picture is made the slow way."""
    how, grey = Preprocessing((64, 64)), Preprocessing((64, 64), mean=(0.5,), std=(0.5,))
    assert ImagePreparer(how, fast=True).identity() == {**how.identity(), "fast": 1}
    assert ImagePreparer(how).identity() == how.identity()
    assert ImagePreparer(grey, fast=True).identity() == grey.identity()


def test_with_drafts() -> None:
    """Pillow decodes the draft, torch resizes it."""
    data, how = encoded(drawn((800, 600)), quality=95), Preprocessing((64, 64))
    draft, both = (ImagePreparer(how, draft=True, fast=fast)(data).data.astype(int) for fast in (False, True))
    assert np.abs(draft - both).max() <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (KINDS["4:2:0"][:-900], "truncated or damaged"),
        (KINDS["PNG"][:-900], "truncated or damaged"),
        (b"", "empty"),
        (b"no picture", "not an image"),
        (encoded(drawn((1000, 600))), "over max_pixels"),
        (encoded(drawn((4000, 2))), "too long and thin"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    """In the words of the slow way."""
    reasons = []
    for fast in (False, True):
        with pytest.raises(RowError) as caught:
            ImagePreparer(Preprocessing((64, 64)), max_pixels=500_000, fast=fast)(data)
        reasons.append(caught.value.message)
    assert reason in reasons[0]
    assert reasons[0] == reasons[1]


def test_damage_in_the_middle_is_judged_by_pillow() -> None:
    """Bytes that are wrong give what Pillow makes of them: the same picture, or the same refusal."""
    whole = KINDS["4:2:0"]
    rng = np.random.default_rng(3)
    for _ in range(40):
        place = int(rng.integers(len(whole) // 4, len(whole) - 4))
        data = whole[:place] + rng.bytes(3) + whole[place + 3 :]
        found = []
        for load in (load_image, lambda value: load_pixels(value).array):
            try:
                found.append(np.asarray(load(data)).tobytes())
            except RowError as error:
                found.append(error.message.encode())
        assert found[0] == found[1]
