"""Cuts a text into passages of at most so many tokens of the model's own tokenizer, each at the best place in its second half.

The text is first cut into tiles, eight or so to a passage. Each tile is counted once by the tokenizer, and tiles are joined into
passages by adding the counts up: asking the tokenizer about every candidate passage, as splitters do, takes five times as long.

Sums are exact where tokens never span whitespace (BERT's normalizer and pre-tokenizer with WordPiece) and tiles stand apart.
Elsewhere joining may change a count by a token or so: such a passage is counted again, and shortened if it is over.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ConfigError, DocumentError
from connector.splitters.joining import Joiner, Scale
from connector.splitters.tiles import Tile, tiles

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LEAST_BYTES = 4
"""One code point of UTF-8 must fit into a passage."""

_BATCH = 1024  # tiles counted in one call: a token takes some hundred bytes while its encoding lives


class TokenSplitter:
    """Passages by tokens.

    A passage never exceeds `size` tokens or `max_bytes` bytes, with one exception that cannot be cut: a single character of which
    the tokenizer alone makes more than `size` tokens. Nothing but whitespace between passages is left out.

    Args:
        tokenizer: Path of a `tokenizer.json`. Truncation and padding that it sets are ignored, special tokens not counted.
        size: Most tokens of a passage.
        overlap: Most tokens that a passage repeats of the one before it; less where the nearest tile is longer.
        max_bytes: Most UTF-8 bytes of a passage; needed because a word of any length may be a single unknown token.

    Raises:
        ConfigError: The file does not exist, or the numbers exclude each other.
    """

    def __init__(self, tokenizer: Path | str, size: int, overlap: int = 0, max_bytes: int | None = None) -> None:
        if not Path(tokenizer).is_file():
            raise ConfigError(f"token splitter: no tokenizer at {str(tokenizer)!r}", hint="name the `tokenizer.json` of the model")
        if size < 1 or not 0 <= overlap < size:
            raise ConfigError(f"token splitter: wants 0 <= overlap < size, found overlap {overlap}, size {size}", hint="lower `overlap`")
        if max_bytes is not None and max_bytes < LEAST_BYTES:
            raise ConfigError(f"token splitter: wants max_bytes of at least {LEAST_BYTES}, found {max_bytes}", hint="raise `max_length`")
        self.tokenizer = Path(tokenizer)
        self.size = size
        self.overlap = overlap
        self.max_bytes = max_bytes
        self._tile = max(16, min(size // 2, 2 * overlap or 256, 256))

    def split(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of the passages in order; none for whitespace. Thread-safe; takes no lock while it counts.

        Raises:
            DocumentError: The text holds a lone surrogate, which is no character.
            ConfigError: The tokenizer file cannot be read.
        """
        _check(text)
        counter = _counter(self.tokenizer)
        cut, tokens = self._fitting(text, tiles(text, self._tile), counter)
        others = [] if self.max_bytes is None else [Scale.of_bytes(text, cut, self.max_bytes)]

        def recount(start: int, end: int) -> int:
            return counter.count([text[cut[start].start : cut[end - 1].end]])[0]

        joiner = Joiner(cut, Scale.of_tokens(tokens, self.size), others, self.overlap, recount, counter.additive)
        return list(joiner.passages())

    def _fitting(self, text: str, cut: list[Tile], counter: Counter) -> tuple[list[Tile], list[int]]:
        """Tiles and the tokens of each; those over a limit are cut smaller until they fit."""
        tokens = counter.count([text[tile.start : tile.end] for tile in cut])
        fits = [n <= self.size and self._fits_bytes(text, tile) for tile, n in zip(cut, tokens, strict=True)]
        smaller = [part for tile, fit in zip(cut, fits, strict=True) for part in ([tile] if fit else _cut_again(text, tile))]
        return (cut, tokens) if len(smaller) == len(cut) else self._fitting(text, smaller, counter)

    def _fits_bytes(self, text: str, tile: Tile) -> bool:
        return self.max_bytes is None or len(text[tile.start : tile.end].encode()) <= self.max_bytes


class Counter:
    """Counts tokens with a loaded tokenizer.

    Attributes:
        additive: True if the tokens of two texts joined by a space are those of the one and those of the other.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers import models, normalizers, pre_tokenizers

        self._tokenizer = tokenizer
        self.additive = (
            isinstance(tokenizer.model, models.WordPiece)
            and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
            and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
            and not any(set(token.content) & set(" \t\r\n") for token in tokenizer.get_added_tokens_decoder().values())
        )

    def count(self, texts: list[str]) -> list[int]:
        """Tokens of each text, without special ones. In batches, because only those leave the interpreter to other threads."""
        encode = functools.partial(self._tokenizer.encode_batch_fast, add_special_tokens=False)
        return [len(found) for at in range(0, len(texts), _BATCH) for found in encode(texts[at : at + _BATCH])]


@functools.lru_cache(maxsize=8)
def _counter(path: Path) -> Counter:
    """Loads a tokenizer once for each file; two threads that come first at once may both load it, to the same effect."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ConfigError(f"token splitter: {str(path)!r} is no tokenizer file", hint="name the `tokenizer.json` of the model") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Counter(tokenizer)


def _cut_again(text: str, tile: Tile) -> list[Tile]:
    """A tile in pieces of at most half its characters; one character stays whole."""
    length = tile.end - tile.start
    if length == 1:
        return [tile]
    parts = tiles(text[tile.start : tile.end], (length + 1) // 2)
    moved = [part._replace(start=part.start + tile.start, end=part.end + tile.start) for part in parts]
    return [*moved[:-1], moved[-1]._replace(cut=tile.cut, apart=tile.apart)]


def _check(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(f"the text holds a lone surrogate at character {error.start}", hint="correct it in its source") from None
