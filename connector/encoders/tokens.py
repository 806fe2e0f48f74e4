"""Makes token ids out of text, with the tokenizer.json of the model and without torch.

Everything that is not plain text is a reject with a reason: an empty input gives a vector of pure bias that is near to everything, and a
lone surrogate cannot be stored. What is longer than the model reads is cut and flagged.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import normalizers

from connector.errors import ConfigError, RowError
from connector.interfaces import Prepared


def load_tokenizer(path: Path, *, max_tokens: int | None = None, lowercase: bool = False) -> tokenizers.Tokenizer:
    """A tokenizer that never pads and cuts at `max_tokens` (None: never), whatever its file says. Remembered while the file is the same.

    Raises:
        ConfigError: There is no such file, or it is broken.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        raise ConfigError(
            f"{path} is missing; a model without it has only a slow tokenizer, which is not supported",
            hint="write it with AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        ) from None
    return _load(path, changed, max_tokens, lowercase=lowercase)


@functools.lru_cache(maxsize=32)
def _load(path: Path, _changed: int, max_tokens: int | None, *, lowercase: bool) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the Rust library raises the bare Exception class
        problem = type(error).__name__
    else:
        return _configured(tokenizer, max_tokens, lowercase=lowercase)
    raise ConfigError(f"{path} cannot be read as a tokenizer ({problem})", hint="download the model again, or upgrade `tokenizers`")


def _configured(tokenizer: tokenizers.Tokenizer, max_tokens: int | None, *, lowercase: bool) -> tokenizers.Tokenizer:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens)
    if lowercase:
        first: list[Any] = [normalizers.Lowercase()]
        tokenizer.normalizer = normalizers.Sequence(first if tokenizer.normalizer is None else [*first, tokenizer.normalizer])
    return tokenizer


@dataclass(frozen=True)
class TextPreparer:
    """Prepares one text; picklable, as names and numbers: the tokenizer is loaded where it is needed.

    Attributes:
        tokenizer: Path of the tokenizer.json.
        max_tokens: Most tokens, special ones included.
        prompt: Put before every text.
        lowercase: Lower-case first.
        left_out: First positions that the model reads and does not pool.
    """

    tokenizer: Path
    max_tokens: int
    prompt: str = ""
    lowercase: bool = False
    left_out: int = 0

    def __call__(self, text: object) -> Prepared:
        """Token ids (int32) of the prompt and the text; their number is the cost. A position that is not pooled holds `~id`, below zero.

        Raises:
            RowError: The input is no text, is blank, or is not valid Unicode.
        """
        [encoding] = self._loaded.encode_batch_fast([self.prompt + checked(text)])  # `encode` keeps the interpreter's lock while it works
        ids = np.asarray(encoding.ids, dtype=np.int32)
        ids[: self.left_out] = ~ids[: self.left_out]
        return Prepared(ids, len(ids), ids.nbytes, truncated=bool(encoding.overflowing))

    @functools.cached_property
    def _loaded(self) -> tokenizers.Tokenizer:
        return load_tokenizer(self.tokenizer, max_tokens=self.max_tokens, lowercase=self.lowercase)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_loaded"}


def checked(text: object) -> str:
    """The input, if it is text that a model can read.

    Raises:
        RowError: It is no str, blank, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise RowError(f"{type(text).__name__}, but the encoder reads text")
    if not text.strip():
        raise RowError("empty text, nothing to encode")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError("text that is not valid Unicode (a lone surrogate)") from None
    return text
