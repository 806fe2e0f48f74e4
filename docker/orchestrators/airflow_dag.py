"""Airflow 3: a job every night; `TryLater` is retried, anything else fails at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.exceptions import AirflowFailException
from airflow.sdk import dag, task
from ingest import TryLater, ingest


@dag(schedule="30 2 * * *", start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"), catchup=False, max_active_runs=1)
def handbook() -> None:
    """Keeps the handbook's collection in step."""

    @task(retries=6, retry_delay=timedelta(minutes=1), retry_exponential_backoff=True)
    def run() -> dict[str, Any]:
        try:
            return ingest("jobs/handbook.yaml")
        except TryLater:
            raise
        except Exception as error:
            raise AirflowFailException(str(error)) from error

    run()


handbook()
