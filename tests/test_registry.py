"""Plugins by name: what is said when a name, a key or a package is wrong."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from connector import registry
from connector.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from decimal import Decimal


class Plugin:
    """A plugin with keys of every kind; the odd names are those that pydantic models reserve."""

    def __init__(
        self,
        path: Path,
        size: int = 3,
        mode: Literal["a", "b"] = "a",
        tags: list[str] | None = None,
        schema: str = "s",
        copy: float = 0.5,
        *,
        model_config: bool = False,
        _private: Any = None,
    ) -> None:
        self.given = (path, size, mode, tags, schema, copy, model_config, _private)


class Bare:
    """A plugin without keys."""


class Open:
    """A plugin that takes any key."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.given = (path, options)


class Unresolvable:
    """A plugin whose annotations exist only for type checkers."""

    def __init__(self, price: Decimal) -> None:
        self.price = price


Unresolvable.__init__.__annotations__["price"] = "Missing"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points to be found besides the real ones."""
    extra: list[EntryPoint] = []

    def found(*, group: str) -> list[EntryPoint]:
        return [*entry_points(group=group), *(point for point in extra if point.group == group)]

    monkeypatch.setattr(registry, "entry_points", found)
    return extra


def test_ours_are_registered_like_anybodys() -> None:
    """The four groups list our own plugins by their entry points, sorted, and each of them loads."""
    assert set(registry.names("sources")) >= {"files", "rows"}
    assert set(registry.names("splitters")) >= {"tokens"}
    assert set(registry.names("encoders")) >= {"fake", "transformers"}
    for group in registry.GROUPS:
        names = registry.names(group)
        assert names == sorted(names) == [point.name for point in registry.points(group)]
        assert all(isinstance(registry.load(group, name), type) for name in names)


def test_unknown_name() -> None:
    """A typo is answered with the nearest name and all the valid ones."""
    with pytest.raises(ConfigError, match="no source is called `file`") as caught:
        registry.load("sources", "file")
    assert caught.value.hint.startswith("did you mean `files`? valid: ")


def test_missing_package(installed: list[EntryPoint]) -> None:
    """A plugin whose package is not installed says the pip line, and does not disturb the others."""
    installed.append(EntryPoint("s3", "no_such_package_anywhere.s3:S3Source", "connector.sources"))
    with pytest.raises(MissingExtra, match=r"the source `s3` needs the module `no_such_package_anywhere`") as caught:
        registry.load("sources", "s3")
    assert caught.value.hint.startswith("pip install no_such_package_anywhere")
    assert registry.load("sources", "files")


def test_broken_package(installed: list[EntryPoint]) -> None:
    """A package that lacks what it registered is a wrong set-up, not a bug of ours."""
    installed.append(EntryPoint("gone", "connector.record:NoSuchClass", "connector.sources"))
    with pytest.raises(ConfigError, match=r"the source `gone` cannot be loaded from connector\.record:NoSuchClass"):
        registry.load("sources", "gone")


def test_name_registered_twice(installed: list[EntryPoint]) -> None:
    """Which of two packages wins would depend on the order of folders: both are named instead. The same one twice is one."""
    installed.append(EntryPoint("files", "connector.sources.files:FilesSource", "connector.sources"))
    assert registry.load("sources", "files")
    installed.append(EntryPoint("files", "other.package:Files", "connector.sources"))
    with pytest.raises(ConfigError, match=r"registered twice: connector\.sources\.files:FilesSource, other\.package:Files"):
        registry.load("sources", "files")


def test_keys_are_checked_and_converted() -> None:
    """Keys are the arguments of `__init__`; text from a job becomes what the annotation says; what is left out keeps its default."""
    made = registry.validate(Plugin, {"path": "a/b", "size": "7", "tags": ["x"]}, where="job: source")
    assert made == {"path": Path("a/b"), "size": 7, "tags": ["x"]}
    assert Plugin(**made).given == (Path("a/b"), 7, "a", ["x"], "s", 0.5, False, None)


def test_no_key_name_is_reserved() -> None:
    """A plugin may call its keys what it likes."""
    keys = {"path": "x", "schema": "t", "copy": 1, "model_config": True, "_private": [1]}
    assert registry.validate(Plugin, keys, where="w") == {**keys, "path": Path("x")}


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"path": "x", "sise": 1}, "job: source: unknown key `sise`", "did you mean `size`? valid: _private, copy, mode"),
        ({}, "job: source: `path`: Field required", "correct the key"),
        ({"path": "x", "size": "many"}, "job: source: `size`: Input should be a valid integer", "correct the key"),
        ({"path": "x", "mode": "c"}, "job: source: `mode`: Input should be 'a' or 'b'", "correct the key"),
        ({"path": "x", "tags": ["a", 5]}, "job: source: `tags.1`: Input should be a valid string", "correct the key"),
        ({"path": 5}, "job: source: `path`: Input is not a valid path", "correct the key"),
    ],
)
def test_wrong_keys(options: dict[str, Any], said: str, hint: str) -> None:
    """The place in the job, the key, what is wrong; never the value, which may be a secret."""
    with pytest.raises(ConfigError) as caught:
        registry.validate(Plugin, options, where="job: source")
    assert caught.value.message.startswith(said)
    assert caught.value.hint.startswith(hint)


def test_a_wrong_value_is_not_shown() -> None:
    """A token in the wrong place must not reach a log."""
    with pytest.raises(ConfigError) as caught:
        registry.validate(Plugin, {"path": "x", "size": "s3cret"}, where="job: source")
    assert "s3cret" not in str(caught.value)


def test_plugin_without_keys() -> None:
    """A class without `__init__` takes no key."""
    assert registry.validate(Bare, {}, where="w") == {}
    with pytest.raises(ConfigError, match="unknown key `x`"):
        registry.validate(Bare, {"x": 1}, where="w")


def test_plugin_that_takes_any_key() -> None:
    """`**options` are passed on as they are."""
    assert registry.validate(Open, {"path": "x", "sise": 1}, where="w") == {"path": Path("x"), "sise": 1}


def test_annotations_that_cannot_be_read() -> None:
    """A plugin whose types are imported for type checkers only is told so."""
    with pytest.raises(ConfigError, match=r"annotations of .*Unresolvable cannot be read: name 'Missing'") as caught:
        registry.validate(Unresolvable, {"price": 1}, where="w")
    assert "TYPE_CHECKING" in caught.value.hint


def test_create(tmp_path: Path) -> None:
    """A name and its keys give an object."""
    assert type(registry.create("sources", "files", {"root": str(tmp_path)}, where="job: source")).__name__ == "FilesSource"
    with pytest.raises(ConfigError, match="job: source: unknown key `rot`"):
        registry.create("sources", "files", {"rot": "x"}, where="job: source")
