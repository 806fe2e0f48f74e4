"""A recording is believed by its content, refused when it is none or breaks off, and never decoded by the parser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from connector.errors import DocumentError, MissingExtra
from connector.parsers.audio import AudioParser
from connector.record import Payload
from connector.sources.files import FilesSource
from connector.sources.media import media_type
from tests.recordings import encoded, tone

FORMATS = {"AIFF": "audio/aiff", "FLAC": "audio/flac", "MP3": "audio/mpeg", "OGG": "audio/ogg", "WAV": "audio/wav"}


def parse(data: bytes) -> dict[str, Any]:
    """The row of a recording."""
    [row] = AudioParser().parse(Payload({}, data, "audio/wav"))
    return row


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each format gives one row with its bytes untouched, its length and its rate; its samples are left to the encoder."""
    data = encoded(np.stack([tone(0.5, 48_000)] * 2, axis=1), 48_000, kind)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_: pytest.fail("decoded"))
    assert parse(data) == {"audio": data, "duration": pytest.approx(0.5, abs=0.03), "sample_rate": 48_000, "channels": 2, "title": ""}
    assert FORMATS[kind] in AudioParser.media_types


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty, not a recording"),
        (b"<html>", "not a recording in any format that is read"),
        (b"\xff\xd8\xff\xe0 a picture", "not a recording"),
        (encoded()[:-1000], "a truncated WAV recording: 15,044 bytes of 16,044"),
        (b"OggS" + b"\0" * 60, "a truncated or damaged OGG recording"),
        (encoded(np.zeros(0, np.float32)), "a recording without samples"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    """What is no recording, by its header, is a reject of the document."""
    with pytest.raises(DocumentError, match=reason):
        parse(data)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, recordings stop the run with the line that installs it; other documents never need it."""
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"needs? the module `soundfile`.*hint: pip install 'connector\[audio\]'"):
        parse(encoded_before)


encoded_before = encoded()


@pytest.mark.parametrize("kind", FORMATS)
def test_media_types_by_content(kind: str, tmp_path: Path) -> None:
    """A recording is what its first bytes say, under any name of a recording, or none; an MP3 without a tag is what its name says."""
    names = ["a", "a.wav", "a.flac"] if kind != "MP3" else ["a.mp3"]
    for name in names:
        (tmp_path / name).write_bytes(encoded(kind=kind))
    found = [document.open().media_type for document in FilesSource(str(tmp_path)).read("", None) if hasattr(document, "open")]
    assert found == [FORMATS[kind]] * len(names)


def test_media_types_of_others() -> None:
    """Words called .wav stay what they are called, so that they are refused by name; a film in an Ogg file is no recording."""
    assert media_type("a.wav", b"words") == "audio/wav"
    assert media_type("a", b"ID3\x04 and so on") == "audio/mpeg"
    assert media_type("a", b"OggS" + b"\0" * 24 + b"\x80theora") == "application/octet-stream"
    assert media_type("a.md", b"RIFF1234WAVE") == "text/markdown"
