"""Shows values to people: in one line of a terminal, or in a notebook as HTML, in which everything that comes from data is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Cell = str
"""HTML: made by `text` or `picture`, never data as it is."""

LINE, SHOWN = 160, 300
"""Characters of a value in a terminal, and in a notebook."""


def one_line(value: object, most: int = LINE) -> str:
    """A value in one line of at most so many characters."""
    words = " ".join(str(value).split())
    return words if len(words) <= most else f"{words[: most - 3]}..."


def text(value: object) -> Cell:
    """A value as HTML, cut where it is long."""
    return escape(one_line(value, SHOWN))


def picture(data_uri: str, title: object) -> Cell:
    """A picture whose bytes are in the URI."""
    return f'<img src="{escape(data_uri)}" title="{text(title)}" alt="{text(title)}">'


def table(heads: Sequence[object], rows: Iterable[Sequence[Cell]]) -> str:
    """Rows under heads."""
    head = "".join(f"<th>{text(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
