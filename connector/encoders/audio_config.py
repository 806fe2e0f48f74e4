"""Reads, from an audio model's folder, all that can be known of it before its weights are loaded: config.json and the feature extractor's.

Two facts decide whether recordings of different lengths may go through a network together. Where the first convolution is normalised over
the whole recording (`feat_extract_norm: group`), or the position embedding normalises between its convolutions (data2vec-audio), what fills
a shorter recording up changes its numbers, with or without an attention mask. Such models get recordings of one length at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.encoders.weights import read_config, read_json
from connector.errors import ConfigError

AUDIO_MODELS = ("data2vec-audio", "hubert", "wav2vec2", "wavlm")
"""Model types that read the samples themselves."""

_MASKED = frozenset({"hubert", "wav2vec2"})
_KERNELS, _STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


@dataclass(frozen=True, slots=True)
class AudioModelDescription:
    """An audio model as its folder states it.

    Attributes:
        hidden_size: Numbers of a frame's vector.
        layers: Hidden layers.
        convolutions: Kernel and stride of each convolution, in samples and then in frames of the one before.
        rate: Samples a second.
        normalize: Whether each recording is brought to mean 0 and variance 1.
        padded: Whether recordings of different lengths may be filled up with silence and masked without changing any of them.
    """

    hidden_size: int
    layers: int
    convolutions: tuple[tuple[int, int], ...]
    rate: int
    normalize: bool
    padded: bool

    def frames(self, samples: int) -> int:
        """How many frames a number of samples gives; 0 if it is too short for one."""
        for kernel, stride in self.convolutions:
            samples = max(0, (samples - kernel) // stride + 1)
        return samples

    @property
    def least(self) -> int:
        """Fewest samples that give a frame."""
        needed = 1
        for kernel, stride in reversed(self.convolutions):
            needed = (needed - 1) * stride + kernel
        return needed


def describe_audio(folder: Path, model: str) -> AudioModelDescription:
    """What a model folder states.

    Raises:
        ConfigError: A file is missing or broken, or the model is of another sort.
    """
    config = read_config(folder, model)
    kind = config.get("model_type")
    if kind not in AUDIO_MODELS:
        problem = f"model {model} is of type {kind}, which reads no samples"
        hint = "write clap:... for it" if kind == "clap" else f"valid types: {', '.join(AUDIO_MODELS)}"
        raise ConfigError(problem, hint=hint)
    if config.get("add_adapter"):
        raise ConfigError(f"model {model} has an adapter behind its encoder, which is not supported yet", hint="choose another model")
    extractor = read_extractor(folder, model, "Wav2Vec2FeatureExtractor")
    kernels, strides = config.get("conv_kernel") or _KERNELS, config.get("conv_stride") or _STRIDES
    masked = bool(extractor.get("return_attention_mask"))
    return AudioModelDescription(
        hidden_size=int(config.get("hidden_size", 768)),
        layers=int(config.get("num_hidden_layers", 12)),
        convolutions=tuple((int(kernel), int(stride)) for kernel, stride in zip(kernels, strides, strict=True)),
        rate=int(extractor.get("sampling_rate", 16_000)),
        normalize=bool(extractor.get("do_normalize", True)),
        padded=masked and kind in _MASKED and config.get("feat_extract_norm", "group") == "layer",
    )


def read_extractor(folder: Path, model: str, kind: str) -> dict[str, Any]:
    """The feature extractor's settings: its part of processor_config.json, else preprocessor_config.json, as transformers reads them.

    Raises:
        ConfigError: There are none, they are broken, or of another kind of extractor.
    """
    found: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            stated = read_json(folder / name)
            found = stated.get("feature_extractor", found) if name == "processor_config.json" else stated
    if not found:
        problem = f"model {model}: {folder} holds no preprocessor_config.json, which says how recordings are prepared"
        raise ConfigError(problem, hint="write it with AutoFeatureExtractor.from_pretrained(name).save_pretrained(folder)")
    if found.get("feature_extractor_type", kind) != kind:
        problem = f"model {model} has a feature extractor of type {found['feature_extractor_type']}, wanted {kind}"
        raise ConfigError(problem, hint="choose another model")
    return found


def canonical_layer(layer: str | None, layers: int) -> str | None:
    """A layer in its one form: hidden layers "0" (what goes into the first) to the last, which is "last"; from the end "-1", "-2", ..."""
    if layer is None or not layer.removeprefix("-").isdecimal():
        return layer
    number = int(layer) + (layers + 1 if layer.startswith("-") else 0)
    return "last" if number == layers else str(number)
