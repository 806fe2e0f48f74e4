"""Reads a YAML file as plain data: references replaced, surprises refused.

`${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` are replaced inside strings after parsing, so a value cannot inject YAML. Duplicate
keys, YAML 1.1's surprising booleans and alias bombs are refused.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from connector.errors import ConfigError

MAX_ALIASES = 20
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_KINDS = re.compile(r"(env|file):([^:]+)(?::-(.*))?", re.DOTALL)


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dict, references replaced.

    Raises:
        ConfigError: It is missing, no YAML, has duplicate keys, or names an unset variable; with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", hint="give the path of a job file") from None
    try:
        loader = _Loader(text)
        loader.name = str(path)
        values = loader.get_single_data()
    except (yaml.YAMLError, *_SLIPS) as error:
        raise ConfigError(f"{path}: not valid YAML: {_problem(error)}", hint="correct the file") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: wanted keys and values, found {type(values).__name__}", hint="begin with `version: 1`")
    return values


_SLIPS = (ValueError, AttributeError, RecursionError)
"""What PyYAML lets through: `!!int x`, `!!timestamp x`, and a thousand brackets."""


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, _SLIPS):
        return "nested too deeply" if isinstance(error, RecursionError) else "a value does not fit its tag"
    return f"line {mark.line + 1}: {getattr(error, 'problem', 'unreadable')}" if mark else " ".join(str(error).split())


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 booleans and integers, no duplicate keys, few aliases, and references in strings."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs say nothing of it
            if self.aliases > MAX_ALIASES:
                raise _refusal(f"more than {MAX_ALIASES} aliases", event)
            if event.anchor in self.anchors and self.anchors[event.anchor].end_mark is None:
                raise _refusal(f"the alias `{event.anchor}` stands within what it means", event)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _refusal(f"the key `{key.value}` stands twice", key)
            seen.add(str(key.value))
        return node

    def string(self, node: yaml.ScalarNode) -> str:
        """A string with its references replaced."""
        place = f"{self.name}: line {node.start_mark.line + 1}"
        return _REFERENCE.sub(lambda match: _resolve(match[1], place), self.construct_scalar(node))


def _refusal(problem: str, at: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


def _resolve(reference: str, place: str) -> str:
    parts = _KINDS.fullmatch(reference)
    if parts is None:
        raise ConfigError(f"{place}: `${{{reference}}}` is no reference", hint="write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}")
    kind, name, default = parts.groups()
    if kind == "env":
        value = os.environ.get(name) or default or os.environ.get(name, default)
        if value is None:
            raise ConfigError(f"{place}: the environment variable `{name}` is not set", hint=f"set it, or write ${{env:{name}:-default}}")
        return value
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{place}: {name}: {reason}", hint="check the path in ${file:...}") from None


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.string)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in {"bool", "int", "timestamp"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
