"""A recording gives the same samples on every way in, and one that is damaged, silent or absurd is refused with words."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoders.sounds import load_sound
from connector.errors import RowError
from tests.recordings import encoded, tone

KINDS = [("WAV", None), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_formats(kind: str, subtype: str | None) -> None:
    """Every format that is read gives the sound that was written: exactly, or as nearly as its compression keeps it."""
    wanted = tone(1.0, 48_000)
    found, cut = load_sound(encoded(wanted, 48_000, kind, subtype), 48_000, 30.0)
    assert found.dtype == np.float32
    assert not cut
    assert abs(len(found) - len(wanted)) <= 1152
    length = min(len(found), len(wanted))
    assert np.corrcoef(found[:length], wanted[:length])[0, 1] > 0.98
    if kind in {"WAV", "FLAC", "AIFF"}:
        assert np.abs(found - wanted).max() < 2e-4


def test_ways_in(tmp_path: Path) -> None:
    """Bytes, a path, an object that reads, samples, samples with their rate, and a mapping as datasets have it: all the same."""

    class Late:
        def read(self, limit: int) -> bytes:
            return data

    samples = np.round(tone() * 32768).astype(np.int16)
    data = encoded(samples)
    (tmp_path / "a.wav").write_bytes(data)
    wanted = samples / np.float32(32768)
    ways: list[Any] = [
        data,
        bytearray(data),
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
        Late(),
        samples,
        wanted,
        wanted.astype(np.float64),
    ]
    ways += [(wanted, 16_000), {"array": wanted, "sampling_rate": 16_000, "path": None}]
    for way in ways:
        assert np.array_equal(load_sound(way, 16_000, 30.0)[0], wanted), type(way)


def test_channels_are_averaged() -> None:
    """Stereo is the mean of left and right, whatever the channels' order."""
    left, right = tone(seed=1), tone(seed=2)
    found = load_sound(encoded(np.stack([left, right], axis=1), subtype="FLOAT"), 16_000, 30.0)[0]
    assert np.abs(found - (left + right) / 2).max() < 1e-6
    assert np.array_equal(found, load_sound(encoded(np.stack([right, left], axis=1), subtype="FLOAT"), 16_000, 30.0)[0])


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_rates_are_converted(rate: int) -> None:
    """A recording at another rate comes out as the same sound at the model's: the same length of time, the same pitch."""
    time = np.arange(rate) / rate
    found = load_sound((np.sin(2 * np.pi * 440 * time) / 2, rate), 16_000, 30.0)[0]
    assert abs(len(found) - 16_000) <= 1
    wanted = np.sin(2 * np.pi * 440 * np.arange(len(found)) / 16_000) / 2
    assert np.abs(found - wanted)[200:-200].max() < 1e-3


def test_long_recordings_are_cut() -> None:
    """Nothing behind `max_seconds` is decoded, and it is told; a recording of exactly that length is whole."""
    data = encoded(tone(2.0))
    assert [(len(samples), cut) for samples, cut in (load_sound(data, 16_000, 1.5), load_sound(data, 16_000, 2.0))] == [
        (24_000, True),
        (32_000, False),
    ]
    broken_later = data[:-8000]  # and so its header lies: half of it is enough, but it is refused, since nobody knows what else is wrong
    with pytest.raises(RowError, match="truncated WAV"):
        load_sound(broken_later, 16_000, 0.5)


def header(rate: int = 16_000, channels: int = 1, count: int = 100) -> bytes:
    """A WAV of zeros whose header says this."""
    size = count * channels * 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size) + b"\1" * size


BAD = {
    "empty, not a recording": b"",
    "not a recording in any format": b"words, not sound",
    "a truncated WAV recording: 8,022 bytes of 16,044": encoded()[:8022],
    "a truncated AIFF recording": encoded(kind="AIFF")[:8000],
    "a truncated or damaged recording": encoded(kind="FLAC")[:6000],
    "a truncated or damaged OGG": encoded(kind="OGG")[:3000],
    "a truncated recording: ": encoded(tone(3.0), kind="MP3")[:8000],
    "a truncated or damaged WAV ": b"RIFF\x0c\0\0\0WAVEfmt \0\0\0\0",
    "a recording of 7 samples a second, wanted 1,000 to 384,000": header(rate=7),
    "a recording of 500,000 samples a second": header(rate=500_000),
    "a truncated or damaged WAV recording": header(rate=4_000_000_000),
    "a recording of 40 channels, over 32": header(channels=40),
    "a recording without samples": header(count=0),
    "samples that are not finite": encoded(np.array([0.1, np.nan, 0.2] * 400, np.float32), subtype="FLOAT"),
    "samples up to 30,000, wanted -1 to 1": np.array([0, 30_000.0]),
    "a silent recording": np.zeros(1600, np.float32),
    "recordings: encoded bytes": 7,
    r"an array of float64 \(2, 9\), wanted one channel": np.ones((2, 9)),
    "an array of int64": np.arange(9),
    r"a rate of 5 samples a second": (tone(), 5),
    r"a rate of 'fast' samples": (tone(), "fast"),
    "No such file": "nothing.wav",
    "is not a regular file": Path("/"),
}


@pytest.mark.parametrize("reason", BAD)
def test_refused(reason: str) -> None:
    """What is no whole, audible recording is a reject that says so."""
    with pytest.raises(RowError, match=reason):
        load_sound(BAD[reason], 16_000, 30.0)


def test_infinite_samples_are_refused() -> None:
    """A number too large for float32 is not silently infinite."""
    with pytest.raises(RowError, match="not finite"):
        load_sound(np.array([0.0, 1e300]), 16_000, 30.0)


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_recordings_that_were_streamed(length: int) -> None:
    """A WAV written into a pipe states no length: it is as long as it is."""
    data = bytearray(encoded())
    data[4:8] = struct.pack("<I", length)
    assert len(load_sound(bytes(data), 16_000, 30.0)[0]) == 8_000
