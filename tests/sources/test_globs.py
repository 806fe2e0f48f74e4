"""Which paths a pattern takes."""

from __future__ import annotations

import pytest

from connector.sources.globs import Patterns


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("**/*", "a.md", True),
        ("**/*", "a/b/c.md", True),
        ("*.md", "a.md", True),
        ("*.md", "a/b.md", False),
        ("**/*.md", "a/b.md", True),
        ("docs/**", "docs/a/b.md", True),
        ("docs/**/x.md", "docs/x.md", True),
        ("docs/*/x.md", "docs/a/b/x.md", False),
        ("?.md", "é.md", True),
        ("[ab].md", "c.md", False),
        ("[!ab].md", "c.md", True),
        ("**/*.{md,rst}", "a/b.rst", True),
        ("{a,b/c}/*", "b/c/d", True),
        ("./a.md", "a.md", True),
        ("*.MD", "a.md", False),
    ],
)
def test_pattern(pattern: str, path: str, *, taken: bool) -> None:
    """Patterns match whole relative paths as in pathlib: `*` within a name, `**` any number of folders."""
    assert Patterns(pattern).match(tuple(path.split("/"))) is taken


@pytest.mark.parametrize(
    ("pattern", "folder", "reached"),
    [
        ("docs/*.md", "docs", True),
        ("docs/*.md", "src", False),
        ("docs/*.md", "docs/a", False),
        ("a/**/x", "a/b/c", True),
        ("*.md", "a", False),
    ],
)
def test_reach(pattern: str, folder: str, *, reached: bool) -> None:
    """A folder is entered if, and only if, something below it could match."""
    assert Patterns(pattern).reach(tuple(folder.split("/"))) is reached
