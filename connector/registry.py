"""Finds a plugin by name and builds it from a job's keys.

Plugins are entry points, ours like anybody's. A name loads only its own module; the keyword arguments of `__init__`, with
their annotations, are the keys a job may write, checked by a pydantic model built from the signature.
"""

from __future__ import annotations

import inspect
import typing
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pydantic

from connector.errors import ConfigError, MissingExtra, nearest

GROUPS = ("sources", "parsers", "splitters", "encoders")


def names(group: str) -> list[str]:
    """Registered names of a group ("sources"), sorted."""
    return sorted(point.name for point in entry_points(group=f"connector.{group}"))


def points(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name, not loaded."""
    return sorted(entry_points(group=f"connector.{group}"), key=lambda point: point.name)


def load(group: str, name: str) -> Any:
    """The class registered under a name.

    Raises:
        ConfigError: Nothing is registered under this name; the nearest names are given.
        MissingExtra: It is registered, but a package that it needs is not installed.
    """
    found = [point for point in points(group) if point.name == name]
    if not found:
        raise ConfigError(f"no {group.removesuffix('s')} is called `{name}`", hint=nearest(name, names(group)))
    try:
        return found[0].load()
    except ModuleNotFoundError as error:
        package = found[0].dist.name if found[0].dist else "its package"
        raise MissingExtra(
            f"the {group.removesuffix('s')} `{name}` needs the module `{error.name}`, which is not installed",
            hint=f"pip install {error.name} (or the extra of {package} that brings it)",
        ) from error


def create(group: str, name: str, options: dict[str, Any], *, where: str) -> Any:
    """Builds a plugin from a job's keys.

    Args:
        group: Such as "sources".
        name: The registered name.
        options: Keyword arguments for its `__init__`, as written in the job.
        where: Names the place in error messages, such as "jobs/a.yaml: source".

    Raises:
        ConfigError: A key is unknown (the nearest one is named), missing, or has the wrong type.
    """
    kind = load(group, name)
    return kind(**validate(kind, options, where=where))


def validate(kind: Any, options: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Options checked against the signature of `kind.__init__`, with the types converted as its annotations say."""
    signature = inspect.signature(kind)
    unknown = sorted(set(options) - set(signature.parameters))
    if unknown:
        raise ConfigError(f"{where}: unknown key `{unknown[0]}`", hint=nearest(unknown[0], signature.parameters))
    hints = typing.get_type_hints(kind.__init__)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in signature.parameters.items()
    }
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    model = pydantic.create_model(kind.__name__, __config__=config, **fields)
    try:
        checked = model(**options)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}", hint="correct the key and run the same command again") from None
    return {name: getattr(checked, name) for name in options}


def explain(error: pydantic.ValidationError) -> str:
    """The first problem of a validation error in one line: where and what, never the input (it may hold a secret)."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "value"
    return f"`{place}`: {first['msg']}"
