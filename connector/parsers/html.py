"""Takes the words of an HTML page: one row with its text, a line for each block, and its title.

Parsed as a browser does (Lexbor), from the bytes at hand: nothing is ever fetched or run. Scripts, styles and templates are no
text; menus and footers are kept, because telling them from content is guesswork: name their elements in `drop` if they are in the way.
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

_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd", "details", "dialog", "dir",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hgroup", "hr", "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p", "pre", "search", "section", "select",
    "summary", "table", "tbody", "td", "textarea", "tfoot", "th", "thead", "tr", "ul",
))
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
        waiting: list[tuple[LexborNode | None, bool]] = [(body, False)]
        while waiting:
            node, verbatim = waiting.pop()
            if node is None:
                pieces.append("\n")
            elif node.is_text_node:
                words = node.text_content or ""
                pieces.append(words if verbatim else re.sub(r"\s+", " ", words))
            elif node.is_element_node and node.tag not in self._drop:
                block = node.tag in _BLOCKS
                below = [(child, verbatim or node.tag in _VERBATIM) for child in node.iter(include_text=True)]
                pieces.append("\n" if block else "")
                waiting.extend([(None, False)] if block and below else [])
                waiting.extend(reversed(below))
        return _tidied("".join(pieces))


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data, 0, _LOOK_AHEAD)
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


def _tidied(text: str) -> str:
    """Without spaces at the ends of lines, without more than one empty line in a row, and without empty ends."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]*\n(?: (?! ))?", "\n", text)).strip()
