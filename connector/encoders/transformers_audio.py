"""Audio encoders of the `transformers` library that read samples (wav2vec 2.0, HuBERT, WavLM, data2vec-audio): one vector a recording.

What they give is known from JSON files; their weights are loaded by `open`. A recording longer than `max_seconds` is cut there and counted
as truncated: these models were trained on half a minute at most, and what attention costs grows with the square of the length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from connector.encoders.audio_config import canonical_layer, describe_audio
from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.heads import Offer
from connector.encoders.locate import locate
from connector.encoders.sounds import RULES, load_sound
from connector.errors import ConfigError, RowError
from connector.interfaces import DeviceSpec, Head, Prepared, Role, TextLimits

POOLINGS = ("mean", "max", "none")
"""How the vectors of the frames become one."""


@dataclass(frozen=True)
class SoundPreparer:
    """Prepares one recording for a model that reads samples.

    Attributes:
        rate: Samples a second.
        max_seconds: What is longer is cut here.
        normalize: Bring it to mean 0 and variance 1.
        least: Fewest samples that give a frame.
    """

    rate: int
    max_seconds: float
    normalize: bool
    least: int

    def __call__(self, value: object) -> Prepared:
        """Samples (n,) float32; their number is the cost.

        Raises:
            RowError: As `load_sound`, or it is shorter than one frame.
        """
        samples, cut = load_sound(value, self.rate, self.max_seconds)
        if len(samples) < self.least:
            problem = f"a recording of {len(samples)} samples at {self.rate:,} a second, wanted at least {self.least}"
            raise RowError(problem, hint="exclude it")
        if self.normalize:  # the numbers and their type as in Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return Prepared(samples, len(samples), samples.nbytes, truncated=cut)


class TransformersAudioEncoder(FolderEncoder):
    """Recordings to vectors, by a model of the Hugging Face Hub, of a folder or of an installed package.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
        max_seconds: A longer recording is cut here, and counted as truncated.

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it is of another sort.
    """

    kind = "transformers-audio"
    inputs = frozenset({"audio"})
    text: TextLimits | None = None

    def __init__(self, model: str, revision: str | None = None, max_seconds: float = 30.0) -> None:
        super().__init__(locate(model, revision))
        self._about = about = describe_audio(self._located.folder, self._name)
        if max_seconds * about.rate < about.least:
            raise ConfigError(f"max_seconds is {max_seconds}, which is less than one frame", hint="raise max_seconds")
        self._prepare = SoundPreparer(about.rate, float(max_seconds), about.normalize, about.least)
        how = {"rules": RULES, "rate": about.rate, "normalize": about.normalize, "max_seconds": float(max_seconds), "resampling": "soxr HQ"}
        self.model = self._identity(how)

    def _named(self, head: Head) -> Head:
        return replace(head, layer=canonical_layer(head.layer, self._about.layers))

    def _offer(self, head: Head) -> Offer:  # noqa: ARG002 - every layer has the same width
        about = self._about
        return Offer(self._name, about.hidden_size, ("last", *map(str, range(about.layers))), POOLINGS)

    def positions(self, head: Head, prepared: Prepared) -> int:  # noqa: ARG002 - every layer has the same frames
        """One vector a frame."""
        return self._about.frames(len(prepared.data))

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:  # noqa: ARG002 - both roles alike, sound only
        return self._prepare

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        from connector.encoders.audio_model import load

        return load(root, self._name, device, self._about)
