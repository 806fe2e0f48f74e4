"""The tree of errors: what is drawn is what is there."""

from __future__ import annotations

import re

import pytest

from connector import errors
from connector.errors import ConnectorError, DocumentError, Interrupted, nearest

_LINE = re.compile(r"^    (?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?:exit (?P<exit>\d+))?")


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Class to (parent, exit code) as the docstring draws them."""
    found: dict[str, tuple[str | None, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := _LINE.match(line):
            depth = len(match["indent"]) // 4
            path[depth:] = [match["name"]]
            found[match["name"]] = (path[depth - 1] if depth else None, int(match["exit"]) if match["exit"] else None)
    return found


def tree() -> dict[str, type[ConnectorError]]:
    """The classes by name."""
    return {name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ConnectorError)}


def test_drawn_tree_is_the_tree() -> None:
    """Every class is drawn, below its base."""
    real = {name: value.__bases__[0].__name__ if value is not ConnectorError else None for name, value in tree().items()}
    assert {name: parent for name, (parent, _) in drawn().items()} == real


def test_drawn_exit_codes_are_the_exit_codes() -> None:
    """The exit code stands where the tree is drawn; a class without one has its base's. A signal's is 128 plus its number."""
    said = {name: code for name, (_, code) in drawn().items() if code is not None and name != "Interrupted"}
    assert said == {name: tree()[name].exit_code for name in said}
    silent = set(tree()) - set(said) - {"DocumentError", "Interrupted"}
    assert all(tree()[name].exit_code == tree()[name].__bases__[0].exit_code for name in silent)  # type: ignore[attr-defined]  # all have it


def test_exit_codes_are_told_apart() -> None:
    """A scheduler sees from the code alone what to do: no two causes share one."""
    codes = [code for name, (_, code) in drawn().items() if code is not None and name not in {"EncodeError", "SinkError"}]
    assert len(codes) == len(set(codes))


def test_message_ends_with_the_hint() -> None:
    """Whoever reads one line reads what to do next."""
    assert str(ConnectorError("broken")) == "broken"
    error = ConnectorError("broken", hint="mend it")
    assert (str(error), error.message, error.hint) == ("broken  hint: mend it", "broken", "mend it")


def test_document_errors_say_whether_to_try_again() -> None:
    """By default a document with the same version is not read again."""
    assert not DocumentError("x").retry
    assert DocumentError("x", retry=True).retry


def test_interrupted_names_the_way_on() -> None:
    """After a signal the same command goes on."""
    assert "again" in Interrupted(15).hint
    assert Interrupted(15).signal_number == 15


@pytest.mark.parametrize(
    ("name", "valid", "said"),
    [
        ("sise", {"size", "overlap"}, "did you mean `size`? valid: overlap, size"),
        ("SIZE", {"size", "overlap"}, "did you mean `size`? valid: overlap, size"),
        ("products", {"Products"}, "did you mean `Products`? valid: Products"),
        ("zzz", {"size", "overlap"}, "valid: overlap, size"),
        ("", {"a"}, "valid: a"),
        ("a", set(), "valid: none"),
    ],
)
def test_nearest(name: str, valid: set[str], said: str) -> None:
    """A typo is answered with what was probably meant, whatever the case of its letters."""
    assert nearest(name, valid) == said
