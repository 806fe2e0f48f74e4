"""An image is believed by its content, refused when it is none or too large, and never decoded by the parser."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image, ImageFile

from connector.errors import ConfigError, DocumentError
from connector.parsers.image import ImageParser
from connector.record import Payload
from connector.sources.files import FilesSource
from connector.sources.media import media_type
from tests.pictures import animated, encoded, huge_png, picture

FORMATS = {"BMP": "image/bmp", "GIF": "image/gif", "JPEG": "image/jpeg", "PNG": "image/png", "TIFF": "image/tiff", "WEBP": "image/webp"}


def parse(data: bytes, **options: Any) -> dict[str, Any]:
    """The row of an image."""
    [row] = ImageParser(**options).parse(Payload({}, data, "image/png"))
    return row


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str) -> None:
    """Each of the six formats gives one row with its bytes untouched and its size."""
    data = encoded(kind=kind)
    assert parse(data) == {"image": data, "width": 40, "height": 30, "title": ""}
    assert FORMATS[kind] in ImageParser.media_types


def test_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels are left to the encoder: a parser that decoded them would do the work twice."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for data in (encoded(), encoded(kind="PNG"), encoded(kind="WEBP")):
        assert parse(data)["width"] == 40


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty, not an image"),
        (b"# Not a picture\n", "not an image in any format that is read"),
        (b"%PDF-1.7 and more", "not an image in any format that is read"),
        (b"\xff\xd8\xff", "image"),
        (encoded()[:20], "image"),
        (encoded(kind="PNG")[:12], "image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in any format that is read"),
    ],
)
def test_no_image(data: bytes, reason: str) -> None:
    """Zero bytes, other files and half headers are rejected with a reason and something to do."""
    with pytest.raises(DocumentError, match=reason) as caught:
        parse(data)
    assert caught.value.hint


def test_formats_hardly_anybody_uses_are_refused() -> None:
    """Pillow would open a PCX; every further reader is another way in for an attacker."""
    with pytest.raises(DocumentError, match="not an image in any format"):
        parse(encoded(kind="PCX"))


def test_pixels_are_counted_before_they_are_decoded() -> None:
    """A file of 100 bytes that asks for 1.6 gigapixels, or for one more pixel than allowed, is rejected by its header."""
    with pytest.raises(DocumentError, match="over 89,478,485 pixels"):
        parse(huge_png(40_000, 40_000))
    with pytest.raises(DocumentError, match=r"over max_pixels \(64,000,000\)"):
        parse(huge_png(8_001, 8_000))
    assert parse(huge_png(8_000, 8_000))["width"] == 8_000
    with pytest.raises(DocumentError, match=r"40 x 30 pixels, over max_pixels \(1,199\)"):
        parse(encoded(), max_pixels=1_199)


def test_pillows_warning_is_a_rejection_too() -> None:
    """Between one and two times its limit Pillow only warns; our own limit rejects there, whatever becomes of the warning."""
    actions: tuple[Literal["error", "ignore"], ...] = ("error", "ignore")
    for action in actions:
        with warnings.catch_warnings():
            warnings.simplefilter(action, Image.DecompressionBombWarning)
            with pytest.raises(DocumentError, match="pixels"):
                parse(huge_png(10_000, 10_000))


def test_max_pixels_is_checked() -> None:
    """A limit below one would reject everything."""
    with pytest.raises(ConfigError, match="max_pixels is 0"):
        ImageParser(max_pixels=0)


def test_an_animation_counts_once() -> None:
    """Three frames are one row, of the size of the first."""
    for kind in ("GIF", "WEBP", "PNG"):
        assert (parse(animated(kind))["width"], parse(animated(kind))["height"]) == (16, 12)


def test_size_is_the_one_shown() -> None:
    """A photo taken upright is stored lying, with a note to turn it: its width is the one a viewer sees. Broken notes are ignored."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert (parse(encoded(exif=exif))["width"], parse(encoded(exif=exif))["height"]) == (30, 40)
    assert parse(encoded(picture(), "PNG", exif=exif))["width"] == 30
    exif[0x0112] = 3
    assert parse(encoded(exif=exif))["width"] == 40
    assert parse(encoded(exif=b"Exif\0\0broken"))["width"] == 40


def test_a_polyglot_is_the_image_that_it_opens_as() -> None:
    """A JPEG with a ZIP behind it, or a PNG with a script, is its image: nothing else of it is ever looked at."""
    assert parse(encoded() + b"PK\x03\x04 and a zip")["width"] == 40
    assert parse(encoded(kind="PNG") + b"<script>alert(1)</script>")["width"] == 40


@pytest.mark.parametrize(
    ("path", "head", "kind"),
    [
        ("a.png", encoded(), "image/jpeg"),
        ("a.jpg", encoded(kind="WEBP"), "image/webp"),
        ("a", encoded(kind="TIFF"), "image/tiff"),
        ("a.JPEG", encoded(), "image/jpeg"),
        ("a.webp", b"text", "image/webp"),
        ("a.bmp", encoded(kind="BMP"), "image/bmp"),
        ("a.png", animated(), "image/gif"),
        ("a.svg", b"<svg/>", "image/svg+xml"),
        ("a.txt", encoded(), "text/plain"),
    ],
)
def test_content_is_believed_over_the_name(path: str, head: bytes, kind: str) -> None:
    """A JPEG saved as .png is a JPEG; a text called .webp still goes to this parser, to be rejected."""
    assert media_type(path, head) == kind


def test_a_mislabelled_file_of_a_folder(tmp_path: Path) -> None:
    """The source and the parser together: the row says what the file is."""
    (tmp_path / "a.png").write_bytes(encoded())
    [document] = FilesSource(str(tmp_path)).read("", None)
    payload = document.open()  # type: ignore[union-attr]  # the listing holds one document
    assert payload.fields["media_type"] == "image/jpeg"
    assert ImageParser().parse(payload)[0]["height"] == 30
