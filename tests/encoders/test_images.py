"""Whatever holds a picture gives the same upright RGB pixels, and these are resized exactly as timm does it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from connector.encoders.images import load_image
from connector.encoders.resizing import ImagePreparer, Preprocessing, fitted
from connector.errors import ConfigError, RowError
from connector.files.assets import Asset
from tests.pictures import animated, encoded, huge_png, picture, pixels


def loaded(value: Any) -> Any:
    """Its pixels."""
    image = load_image(value)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_every_way_in_gives_the_same_pixels(tmp_path: Path) -> None:
    """Bytes, a path, a path below a root, an image and an array: one picture."""
    data = encoded(kind="PNG")
    (tmp_path / "a.png").write_bytes(data)
    values: list[Any] = [data, bytearray(data), memoryview(data), tmp_path / "a.png", str(tmp_path / "a.png"), Asset("a.png", tmp_path)]
    values += [BytesIO(data), picture(), pixels(), np.asfortranarray(pixels()), np.dstack([pixels(), np.full((30, 40), 255, np.uint8)])]
    for value in values:
        assert (loaded(value) == pixels()).all(), type(value)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_formats(kind: str) -> None:
    """All six formats decode to about the picture that was encoded (GIF has 256 colours)."""
    assert np.abs(loaded(encoded(kind=kind)).astype(int) - pixels()).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation(kind: str, orientation: int) -> None:
    """A picture is turned as its EXIF says, once: the red corner ends where a viewer shows it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    found = loaded(encoded(picture(), kind, exif=exif, **options))
    plain = picture()
    plain.getexif()[0x0112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(plain))
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 12


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so on stderr, and goes on
def test_broken_exif_is_ignored() -> None:
    """A note that cannot be read is no reason to refuse a picture."""
    assert loaded(encoded(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")).shape == (30, 40, 3)


def test_colour_spaces() -> None:
    """CMYK, grey, palettes and black-and-white come out as the colours that they show."""
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert loaded(encoded(red.convert("CMYK"), "JPEG", quality=100))[4, 4].tolist() == pytest.approx([254, 0, 0], abs=3)
    assert loaded(encoded(red.convert("P"), "PNG"))[4, 4].tolist() == [255, 0, 0]
    assert loaded(encoded(Image.new("L", (8, 8), 77), "PNG"))[4, 4].tolist() == [77, 77, 77]
    assert loaded(encoded(Image.new("1", (8, 8), 1), "PNG"))[4, 4].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled() -> None:
    """A 16-bit picture keeps its greys: Pillow's own conversion would make everything above 255 white."""
    steps = np.array([[0, 256, 32_768, 65_535]], dtype=np.uint16)
    for value in (encoded(Image.fromarray(steps), "PNG"), encoded(Image.fromarray(steps), "TIFF"), steps):
        assert loaded(value)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_transparency_is_white() -> None:
    """What is transparent is white, half of it half white; in a palette and for a colour that is declared transparent too."""
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (255, 0, 0, 128))
    wanted = [[255, 0, 0], [255, 255, 255], [255, 127, 127]]
    assert loaded(encoded(image, "PNG"))[0].tolist() == wanted
    assert loaded(encoded(image.quantize(4), "PNG"))[0].tolist() == pytest.approx(np.array(wanted), abs=1)
    assert loaded(encoded(Image.new("RGB", (2, 2), "blue"), "PNG", transparency=(0, 0, 255)))[0, 0].tolist() == [255, 255, 255]
    assert loaded(encoded(Image.new("LA", (2, 2), (10, 0)), "PNG"))[0, 0].tolist() == [255, 255, 255]


def test_an_animation_is_its_first_frame() -> None:
    """Not the last one, and not all of them."""
    for kind in ("GIF", "WEBP", "PNG"):
        assert loaded(animated(kind))[5, 5].tolist() == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty, not an image"),
        (b"words", "not an image in any format"),
        (encoded(picture(200, 150))[:-900], "truncated or damaged"),
        (encoded(kind="PNG")[:-60], "truncated or damaged"),
        (encoded(kind="WEBP")[:-60], "damaged"),
        (huge_png(40_000, 40_000), "pixels"),
        (huge_png(9_000, 9_000), "over max_pixels"),
        (Image.new("1", (9_000, 9_000)), "over max_pixels"),
        (7, "int, but the encoder reads images"),
        (pixels().astype(np.float32), "an array of float32"),
        (np.zeros((4, 4, 2), np.uint8), "an array of uint8"),
        (np.zeros((0, 4, 3), np.uint8), "an array of uint8"),
        ("nothing.jpg", "nothing.jpg: No such file"),
        ("a\0b", "ValueError"),
        ("", "not a regular file"),
        (Image.fromarray(np.ones((4, 4), np.float32)), "no agreed range"),
    ],
    ids=range(16),
)
def test_what_cannot_be_used_is_refused(value: Any, reason: str) -> None:
    """A truncated, damaged, huge or missing picture, and what is none, is refused with a reason."""
    with pytest.raises(RowError, match=reason):
        load_image(value)


def test_a_path_outside_of_its_root_is_refused(tmp_path: Path) -> None:
    """A table cannot make the encoder read what its root does not hold."""
    (tmp_path / "secret.png").write_bytes(encoded())
    with pytest.raises(RowError, match="leads out of the root"):
        load_image(Asset("../secret.png", tmp_path / "below"))


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    """Only regular files are opened: a FIFO would wait for ever, a device never end."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(RowError, match="not a regular file"):
        load_image(tmp_path / "a.png")


def test_truncated_images_never_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch is global, so another library may set it: then nothing is decoded at all, rather than half pictures as whole ones."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ConfigError, match="LOAD_TRUNCATED_IMAGES"):
        load_image(encoded())


def test_long_and_thin() -> None:
    """A strip of one pixel's height is small, but enlarging it until its height fits would take gigabytes."""
    with pytest.raises(RowError, match="too long and thin"):
        ImagePreparer(Preprocessing((224, 224)))(encoded(Image.new("L", (60_000, 1)), "PNG"))
    assert fitted(picture(60_000, 1), Preprocessing((224, 224), crop="squash")).size == (224, 224)


def test_prepared() -> None:
    """Eight bits a channel, cost in pixels, and the same after pickling."""
    prepare = ImagePreparer(Preprocessing((64, 48)))
    item = prepare(encoded())
    assert (item.data.shape, item.data.dtype, item.cost, item.nbytes) == ((64, 48, 3), np.uint8, 64 * 48, 64 * 48 * 3)
    assert (pickle.loads(pickle.dumps(prepare))(encoded()).data == item.data).all()  # noqa: S301 - our own object


SIZES = [(640, 480), (480, 640), (300, 300), (100, 60), (37, 211), (224, 224), (256, 256), (257, 255), (1000, 3)]


@pytest.mark.parametrize("crop", ["center", "squash", "border"])
@pytest.mark.parametrize(("side", "crop_pct"), [((224, 224), 0.875), ((224, 224), 1.0), ((256, 128), 0.9), ((150, 150), 0.95)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_equal_to_timm(crop: str, side: tuple[int, int], crop_pct: float, interpolation: str) -> None:
    """For any size of picture and every mode the pixels are those of timm's own evaluation transform, bit for bit."""
    how = Preprocessing(side, crop, crop_pct, interpolation)
    transform = timms(how)
    for number, (width, height) in enumerate(SIZES[:-1] if crop == "border" else SIZES):  # timm fails on a line in a border
        image = picture(width, height, number)
        wanted = np.asarray(transform(image)).transpose(1, 2, 0)
        mean, std = (np.asarray(one, dtype=np.float32) for one in (how.mean, how.std))
        normal = (np.asarray(fitted(image, how)).astype(np.float32) / 255 - mean) / std
        assert normal.shape == wanted.shape
        assert np.abs(normal - wanted).max() <= 1e-6, (width, height)


def timms(how: Preprocessing) -> Callable[[Image.Image], Any]:
    """The library's own transform of the same description."""
    from timm.data import create_transform

    stated: dict[str, Any] = {"crop_pct": how.crop_pct, "crop_mode": how.crop, "interpolation": how.interpolation, "mean": how.mean}
    made: Callable[[Image.Image], Any] = create_transform(input_size=(3, *how.size), is_training=False, std=how.std, **stated)
    return made


def sizes_decoded(value: Any, preparer: ImagePreparer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is resized for a picture: the sizes of what was decoded."""
    seen: list[tuple[int, int]] = []

    def resize(image: Image.Image, *_: Any, **__: Any) -> Image.Image:
        seen.append(image.size)
        return image.transform((64, 64), Image.Transform.EXTENT, (0, 0, *image.size))

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "resize", resize)
        preparer(value)
    return seen


@pytest.mark.parametrize(("side", "decoded"), [(100, 100), (255, 255), (256, 128), (511, 256), (512, 128), (1024, 128), (2047, 256)])
def test_a_draft_is_never_less_than_twice_what_is_needed(side: int, decoded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half, a quarter or an eighth of a JPEG is decoded where that is still twice as wide and high as the model wants it."""
    how = Preprocessing((64, 64), crop_pct=1.0)
    data = encoded(picture(side, side), "JPEG")
    assert sizes_decoded(data, ImagePreparer(how), monkeypatch) == [(side, side)]
    assert sizes_decoded(data, ImagePreparer(how, draft=True), monkeypatch) == [(decoded, decoded)]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_draft_of_a_turned_picture(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Width and height are those that a viewer shows: a tall model size fits a picture that lies on its side in the file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(1024, 256), "JPEG", exif=exif)
    tall = ImagePreparer(Preprocessing((256, 64), crop="squash", crop_pct=1.0), draft=True)
    assert sizes_decoded(data, tall, monkeypatch) == [(1024, 256) if orientation == 1 else (128, 512)]


def test_drafts_are_for_encoded_jpegs_alone() -> None:
    """Other formats, and an image of the caller's own, are as they were; what is drafted is near the whole picture, and not it."""
    how = Preprocessing((64, 64))
    whole, draft = ImagePreparer(how), ImagePreparer(how, draft=True)
    drawn = picture(800, 600)
    for value in (encoded(drawn, "PNG"), encoded(drawn, "WEBP"), drawn, np.asarray(drawn), Image.open(BytesIO(encoded(drawn, "JPEG")))):
        assert (whole(value).data == draft(value).data).all()
    data = encoded(drawn, "JPEG", quality=95)
    one, other = whole(data).data.astype(int), draft(data).data.astype(int)
    assert (one != other).any()
    assert np.abs(one - other).mean() < 2


def test_drafts_are_part_of_the_identity() -> None:
    """Vectors of drafts are never taken for those of whole pictures; who asks for none keeps the identity of before."""
    how = Preprocessing((64, 64))
    assert ImagePreparer(how).identity() == how.identity()
    assert ImagePreparer(how, draft=True).identity() == {**how.identity(), "draft": 2}


def test_a_damaged_draft_is_refused() -> None:
    """A truncated file, and one with too many pixels, as without."""
    draft = ImagePreparer(Preprocessing((64, 64)), max_pixels=500_000, draft=True)
    with pytest.raises(RowError, match="truncated or damaged"):
        draft(encoded(picture(800, 600), "JPEG")[:-2000])
    with pytest.raises(RowError, match="over max_pixels"):
        draft(encoded(picture(1000, 600), "JPEG"))
