"""Cuts a text into tiles: short runs between whitespace or within long words, each with how good a place its end is for a cut.

semantic-text-splitter finds the places by Unicode's rules (lines, sentences, words, graphemes, also in languages without spaces). It
counts characters here, which is fast, and gets a paragraph at a time, at most some thousand characters, because its time grows
with the square of the text.
"""

from __future__ import annotations

import re
import string
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from semantic_text_splitter import TextSplitter

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 8192
"""Most characters that it gets at once; at four times as many a tile costs twice the time."""

INSIDE, WORD, SENTENCE, LINE, PARAGRAPH, HEADING = range(6)
"""How good a cut is: within a word, after a word, a sentence, a line, a paragraph, before a Markdown heading."""

_SENTENCE_ENDS = frozenset(".!?…。！？")  # noqa: RUF001  # full-width marks end sentences in Chinese and Japanese
_CLOSERS = "\"')]}*_`”’»」』"  # noqa: RUF001  # closing quotation marks stand after the full stop
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")
_SPACES = frozenset(" \t\r\n")
_PUNCTUATION = frozenset(string.punctuation)


class Tile(NamedTuple):
    """A run of text that begins and ends with a character that is not whitespace.

    Attributes:
        start: Offset of its first character.
        end: Offset after its last character.
        cut: How good a place for a cut its end is, INSIDE to HEADING.
        apart: Whether BERT's pre-tokenizer takes this end for that of a word: whitespace follows, or an ASCII punctuation mark stands on
            either side.
    """

    start: int
    end: int
    cut: int
    apart: bool


def tiles(text: str, size: int) -> list[Tile]:
    """Tiles of at most `size` characters, in order; they cover every character that is not whitespace."""
    splitter = TextSplitter(size, trim=False)
    spans = [span for start, end in _blocks(text) for span in _spans(splitter, text[start:end], start)]
    ends = [*spans, (len(text), len(text))]
    return [Tile(here[0], here[1], *_between(text, here[1], after[0])) for here, after in pairwise(ends)]


def _spans(splitter: TextSplitter, block: str, base: int) -> Iterator[tuple[int, int]]:
    """Offsets of the pieces of a block without the whitespace around them."""
    for offset, piece in splitter.chunk_indices(block):
        content = piece.lstrip()
        if content:
            start = base + offset + len(piece) - len(content)
            yield start, start + len(content.rstrip())


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of the paragraphs, because a tile must not hide the place between two; long ones in pieces."""
    start = 0
    for blank in _BLANK_LINES.finditer(text):
        yield from _pieces(text, start, blank.end())
        start = blank.end()
    yield from _pieces(text, start, len(text))


def _pieces(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Offsets of pieces that end, if at all possible in their second half, at a line or a space."""
    while stop - start > BLOCK:
        half, full = start + BLOCK // 2, start + BLOCK
        places = (text.rfind(mark, half, full) + 1 for mark in ("\n", " "))
        end = next((place for place in places if place > half), full)
        yield start, end
        start = end
    yield start, stop


def _between(text: str, end: int, start: int) -> tuple[int, bool]:
    """How good a cut is between a tile's end and the next one's start, and whether they are apart."""
    gap = text[end:start]
    apart = not _SPACES.isdisjoint(gap) or text[end - 1] in _PUNCTUATION or text[start : start + 1] in _PUNCTUATION
    lines = max(gap.count("\n"), gap.count("\r"))
    if lines:
        return (LINE if lines == 1 else HEADING if text.startswith("#", start) else PARAGRAPH), apart
    if text[end - 1] in _SENTENCE_ENDS or (gap and text[max(end - 4, 0) : end].rstrip(_CLOSERS)[-1:] in _SENTENCE_ENDS):
        return (SENTENCE if gap or text[end - 1] not in ".!?" else INSIDE), apart
    return (WORD if gap else INSIDE), apart
