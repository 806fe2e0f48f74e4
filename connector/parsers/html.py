"""Takes the words of an HTML page: one row with its text, a line for each block, and its title.

Parsed as a browser does (Lexbor), from the bytes at hand: nothing is ever fetched or run. Scripts, styles and templates are no
text; menus and footers are kept, because telling them from content is guesswork: a parser of your own that inherits this one can name
their elements in `drop`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from selectolax.lexbor import LexborHTMLParser

from connector.parsers.decoding import decode

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

    from connector.record import Payload, Row

DROPPED = ("script", "style", "noscript", "template", "svg", "head")
"""Elements whose content is never text for a reader."""

_PARAGRAPH, _LINE = "\x1d", "\x1e"  # what a block becomes until the text is tidied; no whitespace of the page is either
_PARAGRAPHS = frozenset(
    (
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "details",
        "dialog",
        "dir",
        "dl",
        "fieldset",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "search",
        "section",
        "summary",
        "table",
        "textarea",
        "ul",
    )
)
_LINES = frozenset(
    (
        "br",
        "button",
        "caption",
        "dd",
        "div",
        "dt",
        "figcaption",
        "legend",
        "li",
        "optgroup",
        "option",
        "select",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
    )
)
_MARKED = re.compile(r"(?<![ \t\n])[ \t\n]*[\x1d\x1e](?:[ \n]*[\x1d\x1e])*(?:\n| (?! ))?")  # starts only where a run does: linear
_VERBATIM = frozenset({"pre", "textarea"})
_DECLARED = re.compile(rb"""<meta[^>]+?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]+?encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE)
_LOOK_AHEAD = 1024


class HtmlParser:
    """HTML and XHTML pages.

    Args:
        drop: Names of further elements that are left out with all their content, such as nav or footer.
    """

    media_types = frozenset({"text/html", "application/xhtml+xml"})

    def __init__(self, drop: list[str] | tuple[str, ...] = ()) -> None:
        self._drop = frozenset({*DROPPED, *(name.lower() for name in drop)})

    def parse(self, payload: Payload) -> list[Row]:
        """One row with `text` and `title` (empty without one); none for a page without text.

        Raises:
            DocumentError: The bytes are binary, or in no encoding that could be told with confidence.
        """
        data = payload.data or b""
        tree = LexborHTMLParser(decode(data, _declared(data)))
        title = tree.css_first("head title")
        text = self._text(tree.body) if tree.body is not None else ""
        return [{"text": text, "title": " ".join(title.text().split()) if title is not None else ""}] if text else []

    def _text(self, body: LexborNode) -> str:
        """Walks the tree with a stack of its own: pages nest deeper than Python recurses."""
        pieces: list[str] = []
        waiting: list[tuple[LexborNode | str, bool]] = [(body, False)]
        while waiting:
            node, verbatim = waiting.pop()
            if isinstance(node, str):
                pieces.append(node)
            elif node.is_text_node:
                words = node.text_content or ""
                pieces.append(words if verbatim else re.sub(r"\s+", " ", words))
            elif node.is_element_node and node.tag not in self._drop:
                mark = _PARAGRAPH if node.tag in _PARAGRAPHS else _LINE if node.tag in _LINES else ""
                below = [(child, verbatim or node.tag in _VERBATIM) for child in node.iter(include_text=True)]
                waiting.extend([(mark, False), *reversed(below), (mark, False)])
        return _tidied("".join(pieces))


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data, 0, _LOOK_AHEAD)
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


def _tidied(text: str) -> str:
    """Block marks become one line break or, where a paragraph is among them, two; an indentation is kept."""
    return _MARKED.sub(lambda run: "\n\n" if _PARAGRAPH in run[0] else "\n", text).strip()
