"""CLAP models of the `transformers` library: recordings and words to vectors of one space, so that a sound is found by its description.

What they give is known from JSON files; their weights are loaded by `open`. Both towers end in a projection to one length, normalised as
`ClapModel.get_audio_features` and `get_text_features` normalise it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from connector.encoders.audio_config import read_extractor
from connector.encoders.clap_features import TOKEN_COST, ClapFeatures
from connector.encoders.folder_encoder import FolderEncoder
from connector.encoders.heads import Offer
from connector.encoders.locate import locate
from connector.encoders.sounds import RULES, load_sound
from connector.encoders.tokens import TextPreparer, load_tokenizer
from connector.encoders.weights import file_hash, read_config
from connector.errors import ConfigError, nearest
from connector.interfaces import DeviceSpec, Head, Prepared, Role, TextLimits


@dataclass(frozen=True)
class ClapSoundPreparer:
    """Prepares one recording.

    Attributes:
        features: The feature extractor.
        max_seconds: Nothing behind it is read.
    """

    features: ClapFeatures
    max_seconds: float

    def __call__(self, value: object) -> Prepared:
        """Spectrograms and whether they are fused, as `ClapFeatures` gives them; the cost is the samples that the model reads.

        Raises:
            RowError: As `load_sound`.
        """
        samples, cut = load_sound(value, self.features.rate, self.max_seconds)
        mel, longer = self.features(samples)
        unread = self.features.truncation == "rand_trunc" and len(samples) > self.features.most
        return Prepared((mel, longer), self.features.most, mel.nbytes, truncated=cut or unread)


@dataclass(frozen=True)
class ClapTextPreparer:
    """Prepares one text.

    Attributes:
        tokens: Makes token ids of it.
    """

    tokens: TextPreparer

    def __call__(self, text: object) -> Prepared:
        """Token ids (int32) of the prompt and the text.

        Raises:
            RowError: The input is no text, is blank, or is not valid Unicode.
        """
        prepared = self.tokens(text)
        return replace(prepared, cost=prepared.cost * TOKEN_COST)


class ClapEncoder(FolderEncoder):
    """Recordings and texts to vectors, by a model of the Hugging Face Hub, of a folder or of an installed package.

    Args:
        model: `org/name`, `org/name@revision`, a folder, or `package://import_name/sub/folder`.
        revision: Commit, tag or branch of a hub model.
        max_seconds: Of a recording; nothing behind it is read.
        document_prompt: Put before every text that is stored.
        query_prompt: Put before every text that is searched for, such as "This is a sound of ".

    Raises:
        ConfigError: There is no such model, a file of it is missing or broken, or it is of another sort.
    """

    kind = "clap"
    inputs = frozenset({"audio", "text"})

    def __init__(
        self, model: str, revision: str | None = None, max_seconds: float = 60.0, document_prompt: str = "", query_prompt: str = ""
    ) -> None:
        located = locate(model, revision)
        super().__init__(located)
        config = read_config(located.folder, located.name)
        features = ClapFeatures.of(read_extractor(located.folder, located.name, "ClapFeatureExtractor"), located.name)
        _check(config, features, located.name, max_seconds)
        self._dim = int(config.get("projection_dim", 512))
        self._pad_id, self._max_tokens = _text_limits(config.get("text_config") or {})
        self._path = located.folder / "tokenizer.json"
        self._prompts = {"document": document_prompt, "query": query_prompt}
        self._sound = ClapSoundPreparer(features, float(max_seconds))
        self.text: TextLimits | None = TextLimits(self._path, self._usable())
        audio = {"rules": RULES, "resampling": "soxr HQ", "max_seconds": float(max_seconds), "places": "middle", **asdict(features)}
        text = {"tokenizer": file_hash(self._path), "max_tokens": self._max_tokens, "prompts": self._prompts}
        self.model = self._identity({"audio": audio, "text": text})

    def _usable(self) -> int:
        tokenizer = load_tokenizer(self._path)
        prompt = max(len(tokenizer.encode(prompt, add_special_tokens=False)) for prompt in self._prompts.values())
        usable = self._max_tokens - prompt - tokenizer.num_special_tokens_to_add(is_pair=False)
        if usable < 1:
            raise ConfigError(f"model {self._name}: the prompt leaves no token for the text", hint="shorten the prompt")
        return int(usable)

    def _offer(self, head: Head) -> Offer:  # noqa: ARG002 - there is one layer
        return Offer(self._name, self._dim, ("projection",), ("model",), normalize=True)

    def _preparer(self, role: Role, modality: str | None) -> Callable[[Any], Prepared]:
        if modality not in {None, *self.inputs}:
            raise ConfigError(f"unknown input `{modality}`", hint=nearest(str(modality), self.inputs))
        if modality == "audio":
            return self._sound
        return ClapTextPreparer(TextPreparer(self._path, self._max_tokens, self._prompts[role]))

    def _load(self, root: Path, device: DeviceSpec) -> Any:
        from connector.encoders.clap_model import load

        return load(root, self._name, device, pad_id=self._pad_id)


def _check(config: dict[str, Any], features: ClapFeatures, model: str, max_seconds: float) -> None:
    kind = config.get("model_type")
    if kind != "clap":
        raise ConfigError(f"model {model} is of type {kind}, not clap", hint="choose a CLAP model, or the encoder of its type")
    fused = bool((config.get("audio_config") or {}).get("enable_fusion"))
    if fused != (features.truncation == "fusion"):
        problem = f"model {model}: its config.json says enable_fusion {fused}, its feature extractor truncation {features.truncation}"
        raise ConfigError(problem, hint="download the model again")
    if max_seconds <= 0:
        raise ConfigError(f"max_seconds is {max_seconds}, wanted more than 0", hint="raise max_seconds")


def _text_limits(config: dict[str, Any]) -> tuple[int, int]:
    """The padding's token id and the most tokens; positions count from the padding's id + 1, as RoBERTa's do."""
    pad = 1 if config.get("pad_token_id") is None else int(config["pad_token_id"])
    return pad, int(config.get("max_position_embeddings", 514)) - pad - 1
