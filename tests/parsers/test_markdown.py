"""Markdown."""

from __future__ import annotations

import pytest

from connector.parsers.markdown import MarkdownParser, first_heading
from connector.record import Payload


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One\ntext\n# Two", "One"),
        ("text\n\n## Second level ##\n", "Second level"),
        ("Setext\n======\n", "Setext"),
        ("Setext\n---\n# Later", "Setext"),
        ("text\n\n---\n\n# After a rule", "After a rule"),
        ("```sh\n# comment\n```\n# Real", "Real"),
        ("````\n```\n# in\n```\n````\n# out", "out"),
        ("~~~\n# in\n```\n# in\n~~~\n# out", "out"),
        ("```\n# never closed", ""),
        ("#no space\n# C# language", "C# language"),
        ("#\n# Says something", "Says something"),
        ("    # code\n", ""),
        ("# #\n## C# ##  \n", "C#"),
        ("- item\n\n\tcode\n====", ""),
        ("", ""),
    ],
)
def test_first_heading(text: str, title: str) -> None:
    """The title is the first heading, of either style and any level, outside code."""
    assert first_heading(text) == title


@pytest.mark.parametrize("front", ["---\ntitle: x\n---\n", "+++\ntitle = 1\n+++\n", "---\r\na: b\r\n---\r\n", "---\n---\n", ""])
def test_front_matter_is_no_text(front: str) -> None:
    """Front matter is left out; the rest is the source, unchanged."""
    assert MarkdownParser().parse(Payload({}, f"{front}# T\n\n*x*\n".encode())) == [{"text": "# T\n\n*x*\n", "title": "T"}]


@pytest.mark.parametrize("text", ["---\n\nrule first\n", "text\n---\na: b\n---\n", "--- x\n---\n"])
def test_a_rule_is_not_front_matter(text: str) -> None:
    """Front matter opens the file and is closed; a thematic break or a setext line stays."""
    assert MarkdownParser().parse(Payload({}, text.encode()))[0]["text"] == text


@pytest.mark.parametrize("text", ["", "\n \n", "---\na: b\n---\n", "---\na: b\n---"])
def test_nothing_gives_no_row(text: str) -> None:
    """A page of front matter only is empty, not rejected."""
    assert MarkdownParser().parse(Payload({}, text.encode())) == []


@pytest.mark.timeout(10)
def test_long_heading_takes_time_in_proportion() -> None:
    """A heading of a million spaces is no way to stop a run."""
    assert first_heading(f"# a{' #' * 500_000}x") == f"a{' #' * 500_000}x"
    assert first_heading(f"# a{' ' * 1_000_000}#\n") == "a"
