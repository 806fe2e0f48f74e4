"""Counts, for every row of the table of faults, how many faults its tests inject, by what they inject them into.

A test injects one fault for each of its cases; a suite that passes has survived them all. The counts stand in docs/faults.md, where a test
compares them with the tests that there are.

    python -m tests.faults.tiers    # writes them anew
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "faults.md"
HEAD = "| fault | what happens | where | proven by |"
TIERS = {
    "L": "Milvus Lite",
    "S": "Milvus 2.3.5",
    "I": "Milvus Lite's service with faults",
    "P": "a proxy before either",
    "U": "without Milvus",
}
LONG = ("CONNECTOR_RANDOM_KILLS", "CONNECTOR_ALL_FAILPOINTS", "CONNECTOR_HISTORIES")
"""Ask for longer versions of some tests, which are not counted."""

_LITE = re.compile(r"Workshop|shop\.run|Folder|folder\.(run|call)\(|connector\.run\(|run_job\(|check_job\(|\bconnect\(|MilvusSettings\(")

Case = tuple[str, str, str]
"""File below tests without its ending, name of the test, tier."""


def rows(page: str) -> list[list[str]]:
    """The cells of every row of the tables of faults."""
    tables = page.split(HEAD)[1:]
    lines = [line for table in tables for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    return [_cells(line) for line in lines]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def named(cell: str) -> list[tuple[str, str]]:
    """(file, test) of every test that a cell names."""
    return [(file, f"test_{name}") for file, names in re.findall(r"`([\w/]+)`: ([\w, ]+)", cell) for name in names.split(", ")]


def case_of(item: pytest.Item) -> Case:
    """A case of a test, and where it happens."""
    function: Any = item
    fixtures = [one[-1].func for one in function._fixtureinfo.name2fixturedefs.values() if _ours(one[-1].func)]
    text, params = "\n".join(map(_source, [function.function, *fixtures])), getattr(getattr(item, "callspec", None), "params", {})
    file = item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()
    if "TcpProxy" in text:
        tier = "P"
    elif "FaultyMilvus(" in text:
        tier = "I"
    elif file.startswith("server/") or "shared" in item.fixturenames or params.get("backend", params.get("place")) == "server":  # type: ignore[attr-defined]
        tier = "S"
    else:
        tier = "L" if "backend" in params or _LITE.search(text) else "U"
    return file, function.originalname, tier


@functools.cache
def _source(function: Any) -> str:
    """Of a test or a fixture, and of the functions of its module that it calls."""
    text = inspect.getsource(function)
    module = inspect.getmodule(function)
    beside = [
        one
        for name, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == function.__module__ and f"{name}(" in text
    ]
    return "\n".join([text, *(inspect.getsource(one) for one in beside if one is not function)])


def _ours(function: Any) -> bool:
    """Whether a fixture is one of these tests', and not of every test."""
    path = Path(inspect.getsourcefile(function) or "")
    return path.is_relative_to(ROOT / "tests") and path != ROOT / "tests" / "conftest.py"


def counted(page: str, cases: Iterable[Case]) -> dict[str, str]:
    """What `where` should say, by the row's fault."""
    tally: dict[tuple[str, str], Counter[str]] = {}
    for file, name, tier in cases:
        tally.setdefault((file, name), Counter())[tier] += 1
    found = {}
    for row in rows(page):
        total: Counter[str] = Counter()
        for one in named(row[-1]) if len(row) == 4 else []:
            total += tally.get(one, Counter())
        found[row[0]] = ", ".join(f"{tier} {total[tier]}" for tier in TIERS if total[tier])
    return found


def summary(where: Mapping[str, str]) -> str:
    """The table of tiers."""
    lines = ["| | injected into | rows | faults |", "|---|---|---|---|"]
    for tier, words in TIERS.items():
        numbers = [int(number) for cell in where.values() for number in re.findall(rf"{tier} (\d+)", cell)]
        lines.append(f"| {tier} | {words} | {len(numbers)} | {sum(numbers)} |")
    return "\n".join(lines)


def collected() -> list[Case]:
    """The cases of all tests that the page names, by collecting them in another process."""
    files = sorted({f"tests/{file}.py" for row in rows(PAGE.read_text(encoding="utf-8")) for file, _ in named(row[-1])})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "tests.faults.tiers", *files]
    short = {name: value for name, value in os.environ.items() if name not in LONG}
    done = subprocess.run(command, cwd=ROOT, env=short, capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("case ")]
    assert lines, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    return [(file, name, tier) for _, file, name, tier in lines]


def pytest_collection_finish(session: pytest.Session) -> None:
    """As a plugin of that process: prints the cases."""
    for item in session.items:
        print("case", *case_of(item))  # noqa: T201 - read by `collected`


def renewed(page: str, cases: Iterable[Case]) -> str:
    """The page with the counts as they are."""
    where = counted(page, cases)
    text = "".join(f"{_renewed(line, where)}\n" for line in page.splitlines())
    return re.sub(r"\| \| injected into \|.*?\n\n", summary(where) + "\n\n", text, flags=re.DOTALL)


def _renewed(line: str, where: Mapping[str, str]) -> str:
    cells = _cells(line)
    if len(cells) != 4 or not named(cells[3]):
        return line
    return f"| {cells[0]} | {cells[1]} | {where[cells[0]]} | {cells[3]} |"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), collected()), encoding="utf-8")
