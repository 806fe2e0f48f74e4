"""What can be searched for or encoded beside plain words: a picture, a recording, a row that is there already.

A path of a picture is text like any other, so a model that reads both words and pictures could not tell them apart; these classes do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeAlias


class Key:
    """A query by example: the vector of the row with this primary key.

    Args:
        value: The primary key.
    """

    def __init__(self, value: str | int) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


class _Media:
    """An input that is no text."""

    modality: ClassVar[str]

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        shown = repr(str(self.value)) if isinstance(self.value, str | Path) else f"<{type(self.value).__name__}>"
        return f"{type(self).__name__}({shown})"


class Image(_Media):
    """A picture: as a query, rows whose pictures look like it.

    Args:
        value: The path of a file, its encoded bytes, a PIL image or an array; it is opened when it is encoded.
    """

    modality = "image"


class Audio(_Media):
    """A recording: as a query, rows whose sound is like it.

    Args:
        value: The path of a file, its encoded bytes, or samples as the encoder takes them; it is opened when it is encoded.
    """

    modality = "audio"


Query: TypeAlias = str | Key | Image | Audio
"""What can be searched for: words, a row's neighbours, a picture, a recording."""


def unwrapped(value: Any) -> Any:
    """The input itself."""
    return value.value if isinstance(value, _Media) else value


def modality_of(value: Any, inputs: frozenset[str]) -> str:
    """Which of the kinds of input that an encoder reads a value is.

    What it says of itself; else the only one; else, of several, text if it is a `str`.

    Args:
        value: An input, wrapped or not.
        inputs: What the encoder reads.
    """
    if isinstance(value, _Media):
        return value.modality
    if len(inputs) == 1 or isinstance(value, str):
        return next(iter(inputs)) if len(inputs) == 1 else "text"
    return next(one for one in sorted(inputs) if one != "text")
