"""HTML."""

from __future__ import annotations

import pytest

from connector.errors import DocumentError
from connector.parsers.html import HtmlParser
from connector.record import Payload


def text(html: str | bytes, **options: list[str]) -> str:
    """The text of a page."""
    data = html if isinstance(html, bytes) else html.encode()
    return "".join(row["text"] for row in HtmlParser(**options).parse(Payload({}, data)))


def test_title_and_text() -> None:
    """The title is apart from the text; entities are characters; whitespace in both is collapsed."""
    page = "<html><head><title> T &amp;\n t </title></head><body>a\n  b&nbsp;&eacute; &lt;i&gt;</body></html>"
    assert HtmlParser().parse(Payload({}, page.encode())) == [{"text": "a b é <i>", "title": "T & t"}]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>one <b>b</b>old</p><p>two</p>", "one bold\n\ntwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<ul><li>x</li> <li>y</li></ul>z", "x\ny\n\nz"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1\n2"),
        ("a<pre>  if x:\n\n\n\n    y\n</pre>b", "a\n\n  if x:\n\n\n\n    y\n\nb"),
        ("<div>a<div>b</div></div> <p> c", "a\nb\n\nc"),
        ("a<!-- no -->b<script>no()</script><style>no</style><noscript>no</noscript><template>no</template>c", "abc"),
        ("<svg><title>no</title></svg>x", "x"),
        ("no <b>end <i>tags", "no end tags"),
    ],
)
def test_blocks(html: str, expected: str) -> None:
    """Blocks stand on lines of their own, inline elements do not part words, and what no reader sees is left out."""
    assert text(html) == expected


def test_menus_are_kept_unless_dropped() -> None:
    """Only what the job names is left out beyond scripts and styles."""
    page = "<nav>menu</nav><p>x</p>"
    assert text(page) == "menu\n\nx"
    assert text(page, drop=["NAV"]) == "x"


@pytest.mark.parametrize(
    "head",
    [
        '<meta charset="iso-8859-1">',
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">',
        "<?xml version='1.0' encoding='latin1'?>",
    ],
)
def test_declared_charset(head: str) -> None:
    """The page's own declaration decides where UTF-8 does not."""
    assert text(f"{head}<p>café</p>".encode("latin-1")) == "café"


@pytest.mark.parametrize("html", ["", "<head><title>only</title></head><body> \n </body>", "<script>x</script>", "<img src=x>"])
def test_page_without_text_gives_no_row(html: str) -> None:
    """A page without a word is empty, not rejected."""
    assert HtmlParser().parse(Payload({}, html.encode())) == []


def test_binary_is_rejected() -> None:
    """Bytes that are no text are rejected, whatever the file is called."""
    with pytest.raises(DocumentError, match="binary"):
        text(b"<p>\0</p>")


def test_deep_nesting() -> None:
    """A page nested deeper than Python recurses is read."""
    assert text("<div>" * 5000 + "x" + "</div>" * 5000) == "x"


@pytest.mark.timeout(10)
def test_long_whitespace_takes_time_in_proportion() -> None:
    """A page of a million spaces is no way to stop a run."""
    assert text(f"<pre>a{' ' * 1_000_000}b</pre>{'<p> ' * 20_000}c") == f"a{' ' * 1_000_000}b\n\nc"
