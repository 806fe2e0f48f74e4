"""Loads the user's own code: a schema class by file path, a transform by module name. Both are named in a job, never guessed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.errors import ConfigError, SchemaError, nearest
from connector.schema import Collection, CollectionSpec, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable


def load_collection(reference: Any) -> CollectionSpec:
    """The specification that `schemas/file.py:Class`, a class, or a specification stands for.

    Raises:
        SchemaError: The file does not import (with its own error and line), or has no such collection.
    """
    if not isinstance(reference, str):
        return spec_of(reference)
    path, _, name = reference.rpartition(":")
    if not path.endswith(".py") or not name:
        raise SchemaError(f"`{reference}` names no collection", hint="write schemas/products.py:Products")
    module = _module(Path(path))
    classes = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    collections = {key for key, value in classes.items() if issubclass(value, Collection) and value is not Collection}
    if name not in collections:
        raise SchemaError(f"{path}: no collection `{name}`", hint=nearest(name, collections))
    return spec_of(getattr(module, name))


def _module(path: Path) -> Any:
    if not path.is_file():
        raise SchemaError(f"{path}: no such file (looked from {Path.cwd()})", hint="paths in a job are relative to the working directory")
    name = f"connector_schema_{hashlib.blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SchemaError(f"{path}: cannot be imported", hint="give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SchemaError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        raise SchemaError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}", hint="correct the schema file") from error
    return module


def _line(error: BaseException, path: Path) -> str:
    """The last line of the user's file in the traceback."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f", line {lines[-1]}" if lines else ""


def load_transform(reference: Any, where: str) -> tuple[Callable[[Any], Any], str]:
    """The function that `module:function` (or the function itself) stands for, and the hash of its source file.

    Modules are found as Python finds them, and in the working directory.
    """
    function = reference if callable(reference) else _function(str(reference), where)
    try:
        source = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):
        source = function.__code__.co_code if hasattr(function, "__code__") else repr(function).encode()
    name = getattr(function, "__qualname__", type(function).__name__)
    return function, f"{name}:{hashlib.blake2b(source, digest_size=8).hexdigest()}"


def _function(reference: str, where: str) -> Callable[[Any], Any]:
    module, _, name = reference.partition(":")
    hint = "write transform: module:function"
    if not module or not name:
        raise ConfigError(f"{where}: transform `{reference}` names no function", hint=hint)
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: transform `{reference}`: {error}", hint=hint) from error
    finally:
        sys.path.pop(0)
    if not callable(function):
        raise ConfigError(f"{where}: transform `{reference}` is no function", hint=hint)
    return function  # type: ignore[no-any-return]  # checked by callable()
