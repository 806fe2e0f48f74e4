"""The table of faults in the documentation names tests that exist, counts them rightly, and has every fault that was thought of."""

from __future__ import annotations

import os
import re

import pytest

from connector.testing.server_files import unsupported
from tests.faults.tiers import LONG, PAGE, ROOT, case_of, collected, counted, named, renewed, rows

TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("row", rows(TEXT), ids=lambda row: row[0][:50])
def test_every_row_is_proven(row: list[str]) -> None:
    """Each named test is there; a row without one says why it cannot happen."""
    tests = named(row[-1]) if len(row) == 4 else []
    assert tests or row[1].startswith("cannot happen: ")
    for file, name in tests:
        assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}: {name}"


def test_the_matrix_is_whole() -> None:
    """The table does not shrink unnoticed."""
    assert len(rows(TEXT)) >= 60
    assert sum(len(named(row[-1])) for row in rows(TEXT)) >= 100


def test_the_numbers_are_right(request: pytest.FixtureRequest) -> None:
    """Every count in the tables is that of the cases that pytest finds; mend it with `python -m tests.faults.tiers`."""
    wanted = {one for row in rows(TEXT) for one in named(row[-1])}
    files = {f"{ROOT}/tests/{file}.py" for file, _ in wanted}
    here = [case_of(item) for item in request.session.items if str(item.path) in files]
    cases = collected() if set(LONG) & set(os.environ) or not wanted <= {one[:2] for one in here} else here
    if unsupported():  # what runs on a server only is not collected there
        told = {row[0]: re.sub(r",? ?S \d+", "", row[2]) for row in rows(TEXT) if named(row[-1])}
        assert told == {fault: re.sub(r",? ?S \d+", "", where) for fault, where in counted(TEXT, cases).items() if fault in told}
    else:
        assert renewed(TEXT, cases) == TEXT
