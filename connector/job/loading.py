"""Loads the user's own code: a schema class by file path, a transform by module name. Both are named in a job, never guessed."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from connector.errors import SchemaError, nearest
from connector.schema import Collection, CollectionSpec, spec_of
from connector.usercode import named_function, working_directory

if TYPE_CHECKING:
    from collections.abc import Callable


_LOCKS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
"""One a file: while its code runs, annotations are looked up in the module of that name, so several runs load it one after the other."""


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
    collections = _collections(Path(path))
    if name not in collections:
        raise SchemaError(f"{path}: no collection `{name}`", hint=nearest(name, collections))
    found = spec_of(collections[name])
    for key, other in collections.items():
        if other is not collections[name] and spec_of(other).name == found.name:
            problem = f"{path}: `{name}` and `{key}` are both the collection `{found.name}`"
            raise SchemaError(problem, hint=f'give one another name: class {key}(Collection, name="...")')
    return found


def collections_of(reference: str) -> list[CollectionSpec]:
    """The specifications in `schemas/file.py`, or the one that `schemas/file.py:Class` stands for.

    Raises:
        SchemaError: The file does not import, or has no such collection.
    """
    if not reference.endswith(".py"):
        return [load_collection(reference)]
    made = {id(one): one for one in _collections(Path(reference)).values()}
    return [spec_of(one) for one in made.values()]


def _collections(path: Path) -> dict[str, type[Collection]]:
    """The collections that a file names, by the names of their classes."""
    classes = {key: value for key, value in vars(_module(path)).items() if isinstance(value, type)}
    return {key: value for key, value in classes.items() if issubclass(value, Collection) and "__connector_spec__" in vars(value)}


def _module(path: Path) -> Any:
    if not path.is_file():
        raise SchemaError(f"{path}: no such file (looked from {Path.cwd()})", hint="paths in a job are relative to the working directory")
    name = f"connector_schema_{hashlib.blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}"
    with _LOCKS[name]:
        return _executed(path, name)


def _executed(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SchemaError(f"{path}: cannot be imported", hint="give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with working_directory():
            spec.loader.exec_module(module)
    except SchemaError as error:
        del sys.modules[name]
        if error.message.startswith(str(module.__file__)):
            raise
        raise SchemaError(f"{path}{_line(error, path)}: {error.message}", hint=error.hint) from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SchemaError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}", hint="correct the schema file") from error
    return module


def _line(error: BaseException, path: Path) -> str:
    """The last line of the user's file in the traceback, and the field that is declared there."""
    if isinstance(error, SyntaxError) and _same(error.filename, path):
        return f", line {error.lineno}"
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if _same(trace.tb_frame.f_code.co_filename, path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f", line {lines[-1]}{_field(path, lines[-1])}" if lines else ""


def _field(path: Path, line: int) -> str:
    """The class and its field whose declaration stands in this line; an index, say, does not know whose it is."""
    for kind in (one for one in ast.walk(ast.parse(path.read_bytes())) if isinstance(one, ast.ClassDef)):
        for one in kind.body:
            if isinstance(one, ast.AnnAssign) and one.lineno <= line <= (one.end_lineno or one.lineno):
                return f": {kind.name}.{ast.unparse(one.target)}"
    return ""


def _same(name: str | None, path: Path) -> bool:
    return name is not None and Path(name).resolve() == path.resolve()


def load_transform(reference: Any, where: str) -> tuple[Callable[[Any], Any], str]:
    """The function that `module:function` (or the function itself) stands for, and the hash of its source file.

    Modules are found as Python finds them, and in the working directory.
    """
    hint = "write transform: module:function"
    function = reference if callable(reference) else named_function(str(reference), f"{where}: transform", hint)
    bound, code = "", function
    if isinstance(function, functools.partial):
        bound, code = f"{function.args}{function.keywords}", function.func
    code = inspect.unwrap(code) if hasattr(code, "__qualname__") else type(code)
    try:
        source = Path(inspect.getfile(code)).read_bytes()
    except (TypeError, OSError):
        source = _text(getattr(code, "__code__", code.__qualname__)).encode()
    return function, f"{code.__qualname__}{bound}:{hashlib.blake2b(source, digest_size=8).hexdigest()}"


def _text(code: Any) -> str:
    """A code object without names of files and lines, for functions typed in at a prompt; anything else as its repr."""
    if not isinstance(code, CodeType):
        return repr(code)
    return f"{code.co_code!r} {code.co_names} {list(map(_text, code.co_consts))}"
