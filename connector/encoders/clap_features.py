"""Makes log-mel spectrograms as the CLAP feature extractor of transformers does, without torch and without its chance.

Upstream reads a recording that is longer than the model at random places, and marks one short recording of a batch, at random, as a long
one; so the same file gives another vector every time. Here the places are the middles of the ranges that upstream draws from,
and only recordings that are longer are marked.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.encoders.sounds import Samples
from connector.errors import ConfigError, nearest

TOKEN_COST = 480
"""What a token costs next to a sample of sound: a text of 1,000 tokens takes about as long as ten seconds at 48 kHz."""

Mel = npt.NDArray[np.float64]
_FLOOR = 1e-10
_BLOCK = 512
_TRUNCATIONS, _PADDINGS = ("fusion", "rand_trunc"), ("repeatpad", "repeat", "pad")


@dataclass(frozen=True, slots=True)
class ClapFeatures:
    """A CLAP feature extractor's settings; call it with samples at `rate`.

    Attributes:
        rate: Samples a second.
        most: Samples that the model reads at once; shorter recordings are filled up to it.
        hop: Samples from one frame to the next.
        window: Samples of a frame.
        mels: Bands.
        low: Lowest frequency, in hertz.
        high: Highest frequency, in hertz.
        truncation: `fusion`: three places of a long recording and the whole of it, shrunk; `rand_trunc`: one place.
        padding: `repeatpad`, `repeat` or `pad`: whether short recordings are repeated, and whether in part.
    """

    rate: int
    most: int
    hop: int
    window: int
    mels: int
    low: float
    high: float
    truncation: str
    padding: str

    @classmethod
    def of(cls, stated: dict[str, Any], model: str) -> ClapFeatures:
        """The settings in a preprocessor_config.json.

        Raises:
            ConfigError: A mode is none that is known.
        """
        truncation, padding = stated.get("truncation", "fusion"), stated.get("padding", "repeatpad")
        for value, valid in ((truncation, _TRUNCATIONS), (padding, _PADDINGS)):
            if value not in valid:
                raise ConfigError(f"model {model}: preprocessor_config.json asks for `{value}`", hint=nearest(str(value), valid))
        rate = int(stated.get("sampling_rate", 48_000))
        return cls(
            rate=rate,
            most=int(stated.get("max_length_s", 10) * rate),
            hop=int(stated.get("hop_length", 480)),
            window=int(stated.get("fft_window_size", 1024)),
            mels=int(stated.get("feature_size", 64)),
            low=float(stated.get("frequency_min", 0)),
            high=float(stated.get("frequency_max", 14_000)),
            truncation=truncation,
            padding=padding,
        )

    def __call__(self, samples: Samples) -> tuple[npt.NDArray[np.float32], bool]:
        """Spectrograms (1 or, for fusion, 4; frames; mels) float32 in decibels, and whether three places were fused."""
        over = len(samples) - self.most
        if self.truncation == "rand_trunc":
            start = max(0, over // 2)
            return self._mel(self._filled(samples[start : start + self.most]), slaney=True)[None], False
        mel = self._mel(self._filled(samples) if over <= 0 else samples, slaney=False)
        frames = self.most // self.hop + 1
        longer = len(mel) > frames
        return (self._fused(mel, frames) if longer else np.stack([mel] * 4)), longer

    def _filled(self, samples: Samples) -> Samples:
        times = self.most // len(samples)
        if self.padding == "repeat":
            return np.tile(samples, times + 1)[: self.most]
        repeated = np.tile(samples, times) if self.padding == "repeatpad" else samples
        return np.pad(repeated, (0, self.most - len(repeated)))

    def _mel(self, samples: Samples, *, slaney: bool) -> npt.NDArray[np.float32]:
        """(frames, mels) float32; frames are centred and the ends mirrored, as librosa's."""
        filters = mel_filters(self.window // 2 + 1, self.mels, self.low, self.high, self.rate, slaney=slaney)
        decibels = [10 * np.log10(np.maximum(power @ filters, _FLOOR)) for power in self._powers(samples)]
        mel: npt.NDArray[np.float32] = np.concatenate(decibels).astype(np.float32)
        return mel

    def _powers(self, samples: Samples) -> Iterator[Mel]:
        """Power spectra, some frames at a time, so that a long recording needs little memory."""
        padded = np.pad(samples, self.window // 2, mode="reflect").astype(np.float64)
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.window)[:: self.hop]
        hann = np.hanning(self.window + 1)[:-1]
        for start in range(0, len(frames), _BLOCK):
            spectrum = np.fft.rfft(frames[start : start + _BLOCK] * hann).astype(np.complex64)  # rounded as upstream rounds it
            yield np.abs(spectrum.astype(np.complex128)) ** 2

    def _fused(self, mel: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
        """The whole, shrunk to the frames that the model reads, and its front, middle and back."""
        ranges = np.array_split(np.arange(len(mel) - frames + 1), 3)
        starts = [int(one[len(one) // 2]) if len(one) else 0 for one in ranges]
        return np.stack([_shrunk(mel, frames), *(mel[start : start + frames] for start in starts)])


def _shrunk(mel: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """Linear interpolation over time, as torch's `interpolate` does it with `align_corners=False`."""
    places = np.clip((np.arange(frames) + 0.5) * (len(mel) / frames) - 0.5, 0, len(mel) - 1)
    below = np.minimum(places.astype(np.int64), len(mel) - 2)
    share = (places - below)[:, None]
    shrunk: npt.NDArray[np.float32] = (mel[below] * (1 - share) + mel[below + 1] * share).astype(np.float32)
    return shrunk


@functools.lru_cache(maxsize=8)
def mel_filters(bins: int, mels: int, low: float, high: float, rate: int, *, slaney: bool) -> Mel:
    """Triangular filters (bins, mels): on the HTK scale with peaks of 1, or on Slaney's with equal areas (librosa's default)."""
    scale, back = (_slaney, _slaney_back) if slaney else (_htk, _htk_back)
    edges = back(np.linspace(scale(np.float64(low)), scale(np.float64(high)), mels + 2))
    slopes = edges[None, :] - np.linspace(0, rate // 2, bins)[:, None]
    widths = np.diff(edges)
    filters: Mel = np.maximum(0, np.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]))
    if slaney:
        filters *= 2 / (edges[2:] - edges[:-2])
    return filters


def _htk(hertz: Any) -> Any:
    return 2595 * np.log10(1 + hertz / 700)


def _htk_back(mels: Any) -> Any:
    return 700 * (10 ** (mels / 2595) - 1)


_BREAK, _STEP = 1000.0, np.log(6.4) / 27
"""Above 1,000 hertz, which is 15 mels, Slaney's scale is logarithmic, in steps of this."""


def _slaney(hertz: Any) -> Any:
    return np.where(hertz < _BREAK, 15 * hertz / _BREAK, 15 + np.log(np.maximum(hertz, 1) / _BREAK) / _STEP)


def _slaney_back(mels: Any) -> Any:
    return np.where(mels < 15, _BREAK * mels / 15, _BREAK * np.exp(_STEP * (mels - 15)))  # noqa: PLR2004 - see _STEP
