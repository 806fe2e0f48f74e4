"""Prefect 3: a job as a task; `TryLater` is retried, anything else fails at once."""

from __future__ import annotations

from typing import Any

from ingest import TryLater, ingest
from prefect import flow, task


def worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether the task failed with `TryLater`."""
    return isinstance(state.result(raise_on_failure=False), TryLater)


run = task(ingest, name="connector", retries=6, retry_delay_seconds=[60, 120, 240, 480, 960, 960], retry_condition_fn=worth_a_retry)


@flow
def handbook(path: str = "jobs/handbook.yaml") -> dict[str, Any]:
    """Keeps the handbook's collection in step: `handbook.serve(cron="30 2 * * *")`."""
    return run(path)


if __name__ == "__main__":
    handbook.serve(name="handbook", cron="30 2 * * *")
