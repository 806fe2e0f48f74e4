"""Describes job files as a JSON Schema, so that an editor completes and checks them while they are written.

It is made from what checks a job when it runs: the `Job` model, and the signatures of the installed sources. An editor sees a file before
its references are replaced, so `${env:NAME}` is allowed wherever a number or a choice is wanted.
"""

from __future__ import annotations

import re
from typing import Any

from connector import registry
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec
from connector.job import Job, RejectSettings, SplitSettings
from connector.job.schedule import ScheduleSettings
from connector.milvus.settings import MilvusSettings
from connector.observe.settings import MetricsSettings, NotifySettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", re.MULTILINE)
_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):"}
_VALUES = {"default", "enum", "const", "required", "if"}
_OBJECTS = {"DeviceSpec"}
"""Definitions that refuse unknown keys when a job is read, which pydantic does not say of dataclasses."""


def job_schema() -> dict[str, Any]:
    """The JSON Schema of a job file, with the keys of every installed source."""
    schema = Job.model_json_schema()
    properties, definitions = schema["properties"], schema["$defs"]
    _describe(schema, Job)
    for model in (MilvusSettings, SplitSettings, RejectSettings, ScheduleSettings, MetricsSettings, NotifySettings, DeviceSpec):
        _describe(definitions[model.__name__], model)
    del properties["where"]
    schema["required"] = [name for name in schema["required"] if name != "milvus"]  # MILVUS_URI says it
    for name in _OBJECTS & set(definitions):
        definitions[name]["additionalProperties"] = False
    definitions.pop("SourceSettings", None)
    properties["source"] = _sources(definitions)
    properties["into"] |= {"type": "string", "pattern": r"\.py:\w+$|\$\{"}
    properties["transform"] |= {"type": "string"}
    properties["parse"] = {"enum": [*registry.names("parsers"), None], "description": properties["parse"]["description"]}
    definitions["SplitSettings"]["properties"]["by"] = {"enum": [*registry.names("splitters"), "none"], "default": "tokens"}
    described = {**schema, "properties": {name: _loose(one) for name, one in properties.items()}}
    described["$defs"] = {name: _loose(one) for name, one in definitions.items()}
    return {"$schema": DIALECT, **described, "title": "connector job", "description": "See docs/jobs.md."}


def _sources(definitions: dict[str, Any]) -> dict[str, Any]:
    """`kind`, and the keys that go with each."""
    kinds = registry.names("sources")
    cases = []
    for kind in kinds:
        definitions[f"source.{kind}"] = _source(kind)
        condition = {"properties": {"kind": {"const": kind}}}
        cases.append({"if": condition, "then": {"$ref": f"#/$defs/source.{kind}"}})
    return {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": kinds}}, "allOf": cases}


def _source(kind: str) -> dict[str, Any]:
    try:
        found = registry.described(registry.load("sources", kind), where=f"source {kind}")
    except ConfigError:
        return {"type": "object"}  # it is registered, but what it needs is not installed
    return {**found, "properties": {"kind": {"const": kind}, **found["properties"]}}


def _describe(schema: dict[str, Any], model: type) -> None:
    """Takes descriptions from the model's docstring: its first line, and its section `Attributes` for the keys."""
    schema["description"] = (model.__doc__ or "").strip().partition("\n")[0]
    for name, text in _ATTRIBUTE.findall((model.__doc__ or "").partition("Attributes:")[2]):
        if name in schema["properties"]:
            schema["properties"][name]["description"] = " ".join(text.split())


def _loose(schema: Any) -> Any:
    """The same schema without titles, and with references allowed in the place of numbers, booleans and choices."""
    if isinstance(schema, list):
        return [_loose(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    inner = {key: value if key in _VALUES else _loose(value) for key, value in kept.items()}
    if inner.get("type") in {"integer", "number", "boolean"} or ("enum" in inner and "type" in inner):
        about = {key: inner.pop(key) for key in ("default", "title", "description") if key in inner}
        return {"anyOf": [inner, _REFERENCE], **about}
    return inner
