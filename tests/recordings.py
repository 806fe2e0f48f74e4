"""Makes recordings for tests: every format, and the ways in which one can be wrong."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]


def tone(seconds: float = 0.5, rate: int = 16_000, seed: int = 0) -> Samples:
    """A chord that swells and fades, another for every seed, with a little noise: (n,) float32 within -1 and 1."""
    time = np.arange(int(seconds * rate)) / rate
    pitches = 110.0 * 2 ** (np.array([0, 4, 7]) / 12 + seed / 5)
    chord = np.sin(2 * np.pi * pitches[:, None] * time).sum(axis=0) * np.sin(np.pi * np.linspace(0.05, 0.95, len(time)))
    noise = np.random.default_rng(seed).normal(size=len(time))
    samples: Samples = (chord / 5 + noise / 100).astype(np.float32)
    return samples


def encoded(samples: npt.NDArray[Any] | None = None, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Samples (n,) or (n, channels) as a file's bytes."""
    out = BytesIO()
    soundfile.write(out, tone(rate=rate) if samples is None else samples, rate, format=kind, subtype=subtype)
    return out.getvalue()
