"""Finds the user's own functions by `module:function`, as Python finds modules, and in the working directory too."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector.errors import ConfigError, nearest


@contextmanager
def working_directory() -> Iterator[None]:
    """Finds modules in the working directory too, as `python -m` does and a console script does not.

    What Python compiles of them is not kept: it is told from its source by seconds and size, which a quick edit may leave as they were.
    """
    here, kept = str(Path.cwd()), sys.dont_write_bytecode
    sys.path.insert(0, here)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.dont_write_bytecode = kept


def named_function(reference: str, where: str, hint: str) -> Callable[..., Any]:
    """What `module:function` names: a function, or anything else that can be called.

    Args:
        reference: As the user wrote it.
        where: What names it, for messages: "jobs/a.yaml: transform".
        hint: How it is written.

    Raises:
        ConfigError: The module does not import, or has no such function.
    """
    module, _, name = reference.partition(":")
    if not module or not name:
        raise ConfigError(f"{where} `{reference}` names no function", hint=hint)
    try:
        with working_directory():
            found = vars(importlib.import_module(module))
    except Exception as error:
        raise ConfigError(f"{where} `{reference}`: {type(error).__name__}: {error}", hint=hint) from error
    function = found.get(name)
    if not callable(function):
        functions = [key for key, value in found.items() if inspect.isfunction(value)]
        raise ConfigError(f"{where} `{reference}`: {module} has no such function", hint=nearest(name, functions))
    return function  # type: ignore[no-any-return]  # checked by callable()


def source_of(reference: str, where: str, hint: str) -> Path:
    """The source file of the module that `module:function` names. Nothing is imported, not even the packages around it.

    Raises:
        ConfigError: There is no such module, or it has no source file.
    """
    module, _, name = reference.partition(":")
    if not name or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{where} `{reference}` names no function", hint=hint)
    roots: Sequence[str] | None = [str(Path.cwd()), *sys.path]
    spec = None
    for depth in range(1, module.count(".") + 2):
        spec = importlib.machinery.PathFinder.find_spec(".".join(module.split(".")[:depth]), roots) if roots is not None else None
        roots = spec.submodule_search_locations if spec else None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        problem = f"{where} `{reference}`: there is no module {module} (looked from {Path.cwd()} and along Python's path)"
        raise ConfigError(problem, hint=hint)
    return Path(spec.origin)
