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

from connector.errors import ConfigError, MissingExtra, explain, nearest

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
    what = f"{group.removesuffix('s')} `{name}`"
    found = {point.value: point for point in points(group) if point.name == name}
    if not found:
        raise ConfigError(f"no {group.removesuffix('s')} is called `{name}`", hint=nearest(name, names(group)))
    if len(found) > 1:
        raise ConfigError(f"the {what} is registered twice: {', '.join(sorted(found))}", hint="uninstall one of the packages")
    point = next(iter(found.values()))
    try:
        return point.load()
    except ModuleNotFoundError as error:
        package = point.dist.name if point.dist else "its package"
        module = error.name or "it"
        wanted = f"'{package}[{point.extras[0]}]'" if point.extras else f"{module} (or the extra of {package} that brings it)"
        raise MissingExtra(
            f"the {what} needs the module `{error.name or error}`, which is not installed",
            hint=f"pip install {wanted}",
        ) from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the {what} cannot be loaded from {point.value}: {error}", hint="reinstall or update its package") from error


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
    """Options checked against the signature of `kind.__init__`, with the types converted as its annotations say.

    Raises:
        ConfigError: As `create`.
    """
    parameters = inspect.signature(kind).parameters.values()
    named = {one.name: one for one in parameters if one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}}
    further = {name: value for name, value in options.items() if name not in named}
    if further and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise ConfigError(f"{where}: unknown key `{min(further)}`", hint=nearest(min(further), named))
    given = {name: value for name, value in options.items() if name in named}
    try:
        checked = _model(kind, list(named.values()), where).model_validate(given)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}", hint="correct the key and run the same command again") from None
    places = {name: f"field{place}" for place, name in enumerate(named)}
    return {**{name: getattr(checked, places[name]) for name in given}, **further}


def described(kind: Any, *, where: str) -> dict[str, Any]:
    """JSON Schema of what `validate` takes; a parameter that has none makes all of them anything."""
    parameters = inspect.signature(kind).parameters.values()
    named = [one for one in parameters if one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}]
    try:
        schema = _model(kind, named, where).model_json_schema(by_alias=True)
    except pydantic.errors.PydanticInvalidForJsonSchema:
        schema = {"type": "object", "properties": {one.name: {} for one in named}}
    for one in schema["properties"].values():
        one.pop("title", None)
    return {**schema, "additionalProperties": len(named) < len(parameters)}


def _model(kind: Any, parameters: list[inspect.Parameter], where: str) -> type[pydantic.BaseModel]:
    """A pydantic model of a signature; its fields have neutral names, because a model reserves some that a plugin may use (`schema`)."""
    try:
        hints = typing.get_type_hints(kind.__init__)
    except NameError as error:
        hint = "import the types in its signature when it runs, not only under TYPE_CHECKING"
        raise ConfigError(f"{where}: the annotations of {kind.__module__}.{kind.__qualname__} cannot be read: {error}", hint=hint) from None
    fields: dict[str, Any] = {}
    for place, parameter in enumerate(parameters):
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"field{place}"] = (hints.get(parameter.name, Any), pydantic.Field(default, alias=parameter.name))
    return pydantic.create_model(kind.__name__, __config__=pydantic.ConfigDict(arbitrary_types_allowed=True), **fields)
