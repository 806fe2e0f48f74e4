"""Opens an encoded recording as far as its header and refuses what must not be decoded: other formats, odd rates, half a file.

libsndfile reads some thirty formats, most of them hardly ever used and so hardly ever attacked by anyone but attackers; five are enough
here. The first bytes are believed over a file's name. It takes a WAV or AIFF that breaks off for a shorter one, so their stated length is
compared here; the other formats notice by themselves when they are opened or decoded.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from connector.errors import DocumentError, MissingExtra

FORMATS = ("AIFF", "FLAC", "MP3", "OGG", "WAV")
"""Names of the formats that are read; OGG is Vorbis, Opus or FLAC in it."""

MIN_RATE, MAX_RATE = 1_000, 384_000
"""Samples a second of what is taken for a recording."""

MAX_CHANNELS = 32
"""Most channels."""

_UNKNOWN = frozenset({0, 0x7FFFFFFF, 0xFFFFFFFF})
"""Lengths that programs write which do not know them yet, because they write into a pipe."""

_SYNC = 0xE0


def open_recording(data: bytes) -> Any:
    """The recording in these bytes as a `soundfile.SoundFile`, its header read and nothing decoded; the caller closes it.

    Args:
        data: An encoded recording.

    Raises:
        DocumentError: It is empty, no recording in a format that is read, breaks off, or has an odd rate, no samples or too many channels.
        MissingExtra: The package `soundfile` is not installed.
    """
    soundfile = _library()
    kind = format_of(data)
    if kind is None:
        if not data:
            raise DocumentError("empty, not a recording", hint="restore the file, or exclude it")
        raise DocumentError(f"not a recording in any format that is read ({', '.join(FORMATS)})", hint="convert it to FLAC, or exclude it")
    _check_whole(data, kind)
    try:
        sound = soundfile.SoundFile(BytesIO(data))
    except Exception as error:  # noqa: BLE001 - whatever is raised here, the header is damaged
        problem = f"a truncated or damaged {kind} recording ({type(error).__name__})"
        raise DocumentError(problem, hint="restore the file, or exclude it") from None
    try:
        _check_header(sound)
    except DocumentError:
        sound.close()
        raise
    return sound


def format_of(data: bytes) -> str | None:
    """One of `FORMATS` by the first bytes, or None. Two bytes say MP3 where no tag stands before it, so it is asked last."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"FORM" and data[8:12] in {b"AIFF", b"AIFC"}:
        return "AIFF"
    for signature, kind in ((b"fLaC", "FLAC"), (b"OggS", "OGG"), (b"ID3", "MP3")):
        if data.startswith(signature):
            return kind
    return "MP3" if len(data) > 1 and data[0] == 0xFF and data[1] & _SYNC == _SYNC else None  # noqa: PLR2004 - eleven bits of ones


def _library() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError:
        raise MissingExtra(
            "recordings need the module `soundfile`, which is not installed", hint="pip install 'connector[audio]'"
        ) from None
    return soundfile


def _check_whole(data: bytes, kind: str) -> None:
    if kind not in {"WAV", "AIFF"}:
        return
    (stated,) = struct.unpack("<I" if kind == "WAV" else ">I", data[4:8])
    if stated not in _UNKNOWN and stated + 8 > len(data) + 1:  # the last byte of an odd length may be left out
        problem = f"a truncated {kind} recording: {len(data):,} bytes of {stated + 8:,}"
        raise DocumentError(problem, hint="restore the file, or exclude it")


def _check_header(sound: Any) -> None:
    if not MIN_RATE <= sound.samplerate <= MAX_RATE:
        problem = f"a recording of {sound.samplerate:,} samples a second, wanted {MIN_RATE:,} to {MAX_RATE:,}"
        raise DocumentError(problem, hint="convert it, or exclude it")
    if sound.channels > MAX_CHANNELS:
        raise DocumentError(f"a recording of {sound.channels} channels, over {MAX_CHANNELS}", hint="convert it, or exclude it")
    if sound.frames < 1:
        raise DocumentError("a recording without samples", hint="restore the file, or exclude it")
