"""Finds the files that a table source names: paths and patterns in, files in a stable order out, and a `Gap` for what hides.

The standard library's globbing drops a folder that it cannot list without a word, and to a mirror missing rows look like deletions. So a
pattern is walked by `walk.py`, and a pattern that matches nothing is an error: a missing table is not an empty one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from connector.errors import ConfigError
from connector.record import Gap
from connector.sources.globs import Patterns
from connector.sources.walk import Walk, gap

_MAGIC = frozenset("*?[{")


def has_magic(path: str) -> bool:
    """Whether a path is a pattern."""
    return not _MAGIC.isdisjoint(path)


def find(given: list[str], what: str) -> dict[str, Gap | None]:
    """The files that paths and patterns name, each once, in the order given and by name within a pattern.

    Args:
        given: Paths and patterns (`*`, `**`, `?`, `[...]`, `{a,b}`); relative ones count from the working directory. Links are followed if
            they stay below the folder in which the pattern begins. Hidden names need a pattern with `/.` in it.
        what: Names the source in messages.

    Returns:
        Path to None, or to why nothing is known of what is there.

    Raises:
        ConfigError: One of them names no file.
    """
    found: dict[str, Gap | None] = {}
    for one in given:
        matches = [(os.path.normpath(path), problem) for path, problem in _matches(os.path.expanduser(one), what)]  # noqa: PTH111  # plain text
        for path, problem in matches:
            found.setdefault(path, problem)
        if not matches:
            place = f"{one!r} (working directory {os.getcwd()!r})"  # noqa: PTH109  # Path.cwd() prints its class
            raise ConfigError(f"{what} source: no file at {place}", hint="correct `path`; a missing file is not an empty one")
    return found


def _matches(given: str, what: str) -> Iterator[tuple[str, Gap | None]]:
    if os.path.lexists(given) or not has_magic(given):
        yield from _file(given, what)
        return
    segments = given.split("/")
    first = next(place for place, segment in enumerate(segments) if has_magic(segment))
    base, rest = "/".join(segments[:first]) or ("/" if given.startswith("/") else "."), "/".join(segments[first:])
    if not os.path.lexists(base):
        return
    walk = Walk(os.path.realpath(base), Patterns(rest), Patterns(()), follow_symlinks=True, hidden="/." in f"/{rest}")
    for item in walk:
        if isinstance(item, Gap):
            where = os.path.join(base, item.where)  # noqa: PTH118  # plain text
            yield where, Gap(where, item.reason)
        else:
            yield os.path.join(base, item[0].path), None  # noqa: PTH118  # plain text


def _file(path: str, what: str) -> Iterator[tuple[str, Gap | None]]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # plain text
    except FileNotFoundError:
        return
    except OSError as error:
        yield path, gap(path, error)
        return
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{what} source: {path!r} is a folder", hint="write a pattern, such as `folder/*`")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{what} source: {path!r} is not a regular file", hint="write its rows to a file first")
    yield path, None
