"""Hands what serve knows to the metrics: the one place that knows where they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from connector.errors import ConfigError
from connector.report import RunReport

HOME = "connector.observe.metrics"
"""The module with `exposition() -> bytes` and `record(report)`."""


def exposition() -> bytes:
    """The metrics of this process in the Prometheus text format.

    Raises:
        ConfigError: There are none in this installation.
    """
    found: bytes = _home().exposition()
    return found


def record(report: RunReport) -> None:
    """Counts a run.

    Raises:
        ConfigError: As `exposition`.
    """
    _home().record(report)


def _home() -> Any:
    try:
        return import_module(HOME)
    except ImportError as error:
        raise ConfigError(f"there are no metrics in this installation: {error}", hint="install connector with its metrics") from error
