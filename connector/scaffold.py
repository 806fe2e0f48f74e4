"""Writes a working job to begin with: copies a template, which is package data, into a folder, and never over anything.

Names that a packaging tool or git would act on stand without their dot in the package and get it when they are written.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ConfigError, nearest

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TEMPLATES = ("images", "table", "text")
"""What there is to begin with."""

_DOTTED = {"gitignore": ".gitignore", "env.example": ".env.example"}


def scaffold(folder: Path, template: str) -> list[str]:
    """Writes a template's files; nothing is written if any of them exists.

    Returns:
        What was written, relative to the folder, sorted.

    Raises:
        ConfigError: There is no such template, or a file exists; all of those are named.
    """
    if template not in TEMPLATES:
        raise ConfigError(f"no template `{template}`", hint=nearest(template, TEMPLATES))
    root = files("connector") / "templates"
    contents = {**_contents(root / "common"), **_contents(root / template)}
    taken = [name for name in sorted(contents) if (folder / name).exists() or (folder / name).is_symlink()]
    if taken:
        hint = "name a new folder: connector init DIR"
        raise ConfigError(f"{folder}: would overwrite {', '.join(taken)}; nothing was written", hint=hint)
    try:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}", hint="check the folder and its permissions") from None
    return sorted(contents)


def _contents(folder: Traversable, above: str = "") -> dict[str, bytes]:
    """Path to bytes of everything below a folder of the package."""
    found: dict[str, bytes] = {}
    for item in folder.iterdir():
        name = f"{above}{_DOTTED.get(item.name, item.name)}"
        if item.is_dir() and item.name != "__pycache__":
            found |= _contents(item, f"{name}/")
        elif item.is_file():
            found[name] = item.read_bytes()
    return found
