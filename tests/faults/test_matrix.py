"""The table of faults in the documentation names tests that exist, and every fault has one or a reason why it cannot happen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HEAD = "| fault | what happens | where | proven by |"


def rows() -> list[list[str]]:
    """The cells of every row of the tables of faults."""
    tables = (ROOT / "docs" / "faults.md").read_text().split(HEAD)[1:]
    lines = [line for table in tables for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def named(cell: str) -> list[tuple[str, str]]:
    """(file, test) of every test that a cell names."""
    return [(file, f"test_{name}") for file, names in re.findall(r"`([\w/]+)`: ([\w, ]+)", cell) for name in names.split(", ")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:50])
def test_every_row_is_proven(row: list[str]) -> None:
    """Each named test is there; a row without one says why it cannot happen."""
    tests = named(row[-1]) if len(row) == 4 else []
    assert tests or row[1].startswith("cannot happen: ")
    for file, name in tests:
        assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}: {name}"


def test_the_matrix_is_whole() -> None:
    """The table does not shrink unnoticed."""
    assert len(rows()) >= 60
    assert sum(len(named(row[-1])) for row in rows()) >= 100
