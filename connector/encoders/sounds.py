"""Turns whatever a row holds as its recording into one channel of float32 samples at the rate that a model reads.

The rules are the same on every way in, so that a recording gives one vector whether it comes from a file, a table or a program. They have
a version, `RULES`, which is part of an encoder's identity: other samples are other vectors. A recording that breaks off is refused, because
half a recording is a different one; so is one in which nothing can be heard, whose vector would be pure bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile  # noqa: F401 - a missing package is told when the encoder is made, not when the first recording is read
import soxr

from connector.encoders.payloads import bytes_of
from connector.errors import DocumentError, RowError
from connector.files.recordings import MAX_RATE, MIN_RATE, open_recording

RULES = 1
"""Version of what `load_sound` makes of a recording. Count it up when the same bytes come to give other samples."""

Samples = npt.NDArray[np.float32]
_WANTED = "recordings: encoded bytes, a path, samples at the model's own rate, or (samples, rate)"
_BLOCK = 1 << 16
_LOUDEST = 100.0
"""Full scale is 1. What is far above was never scaled to it, as numbers of 16 bits kept in floats are."""


def load_sound(value: object, rate: int, max_seconds: float) -> tuple[Samples, bool]:
    """The first `max_seconds` of a recording, and whether there was more: channels averaged, resampled by soxr ("HQ") where rates differ.

    Args:
        value: Encoded bytes; the path of a local file; anything with a method `read(limit)` that gives the bytes; samples (n,) of float or
            int16 at `rate`; a pair of samples and their rate; or a mapping with `array` and `sampling_rate`.
        rate: Samples a second that are wanted.
        max_seconds: Nothing behind it is decoded.

    Raises:
        RowError: It is no recording, a damaged one, or holds silence or numbers that are not finite.
    """
    try:
        samples, own = _samples(value, rate, max_seconds)
    except RowError:
        raise
    except DocumentError as error:
        raise RowError(error.message, hint=error.hint, retry=error.retry) from None
    most = int(max_seconds * own)
    samples, more = samples[:most], len(samples) > most
    _check(samples)
    return np.ascontiguousarray(samples if own == rate else soxr.resample(samples, own, rate, quality="HQ"), dtype=np.float32), more


def _samples(value: Any, rate: int, max_seconds: float) -> tuple[Samples, int]:
    """One channel at its own rate: at least one sample more than `max_seconds` if the recording is longer."""
    if isinstance(value, Mapping) and {"array", "sampling_rate"} <= set(value):
        value = (value["array"], value["sampling_rate"])
    if isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - samples and rate
        return _of_array(np.asarray(value[0])), _rate(value[1])
    if isinstance(value, np.ndarray):
        return _of_array(value), rate
    with open_recording(bytes_of(value, _WANTED, "audio")) as sound:
        return _decoded(sound, int(max_seconds * sound.samplerate) + 1), int(sound.samplerate)


def _rate(rate: Any) -> int:
    if not isinstance(rate, int | np.integer) or not MIN_RATE <= rate <= MAX_RATE:
        raise RowError(f"a rate of {rate!r:.40} samples a second, wanted {MIN_RATE:,} to {MAX_RATE:,}")
    return int(rate)


def _of_array(array: npt.NDArray[Any]) -> Samples:
    if array.ndim == 1 and array.dtype == np.int16:
        return array.astype(np.float32) / np.float32(1 << 15)
    if array.ndim == 1 and array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            return array.astype(np.float32)
    raise RowError(f"an array of {array.dtype} {array.shape}, wanted one channel of samples: float or int16, (n,)")


def _decoded(sound: Any, most: int) -> Samples:
    """The channels' mean, block by block, so that many channels need no more memory than one."""
    wanted = min(most, int(sound.frames))
    blocks: list[Samples] = []
    count = 0
    try:
        while count < wanted and len(block := sound.read(min(_BLOCK, wanted - count), dtype="float32", always_2d=True)):
            blocks.append(block.mean(axis=1, dtype=np.float32))
            count += len(block)
    except Exception as error:  # noqa: BLE001 - decoders of damaged recordings raise almost anything
        raise RowError(f"a truncated or damaged recording ({type(error).__name__})", hint="restore the file, or exclude it") from None
    if count < wanted:
        problem = f"a truncated recording: {count:,} samples of {wanted:,} could be decoded"
        raise RowError(problem, hint="restore the file, or exclude it")
    return np.concatenate(blocks)


def _check(samples: Samples) -> None:
    if not len(samples):
        raise RowError("a recording without samples")
    low, high = float(samples.min()), float(samples.max())  # one that is not a number makes both of them so
    if not np.isfinite([low, high]).all():
        raise RowError("a recording with samples that are not finite", hint="restore the file, or exclude it")
    if max(-low, high) > _LOUDEST:
        raise RowError(f"samples up to {max(-low, high):,.0f}, wanted -1 to 1", hint="divide them by their full scale")
    if low == high:
        raise RowError("a silent recording, nothing to encode")
