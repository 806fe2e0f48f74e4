"""Prints what the kill tests injected and what the oracle found."""

from __future__ import annotations

import pytest

from tests.faults.workshop import TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: what was injected, and how many rows were missing, doubled, stale or foreign after the next run."""
    if TABLE:
        terminalreporter.section("killed, run again, compared with the source")
        terminalreporter.write_line(f"{'injected':58} missing doubled stale foreign")
        for name, found in TABLE:
            terminalreporter.write_line(f"{name:58} {found['missing']:7} {found['doubled']:7} {found['stale']:5} {found['foreign']:7}")
