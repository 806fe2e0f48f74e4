"""A job that runs itself: what a scheduler of one's own, a notebook or a service calls.

It sets up no logging, handles no signal and ends no process. Any number run at once in threads, as long as each is another job: a second
run of one job is refused as `Locked`. From asynchronous code: `await asyncio.to_thread(job.run)`.
"""

from __future__ import annotations

from collections.abc import Callable

from connector import job as declared
from connector.api.events import Event, Teller
from connector.commands.running import run_job
from connector.errors import ConnectorError
from connector.report import RunReport
from connector.stations import Monitor, Options


class Job(declared.Job):
    """One job, as its file says; `Job.from_yaml("jobs/products.yaml").run()` runs it."""

    def run(self, on_event: Callable[[Event], None] | None = None, *, options: Options | None = None) -> RunReport:
        """Brings the collection in step with the source.

        Args:
            on_event: Called with every event, in the thread that runs. An error that it raises ends the run after what was committed, and
                is the caller's.
            options: Limits of this run.

        Returns:
            The report, as `connector run --json` prints it; `exit_code` is 3 if there were more rejects than tolerated.

        Raises:
            ConnectorError: The run could not be brought to its end; `error.report` is the report up to there, where one was begun.
        """
        teller = Teller(on_event or (lambda _: None))

        def began(monitor: Monitor) -> None:
            teller.started(monitor.report)

        try:
            report = run_job(self, options, on_progress=teller.committed, on_begin=began)
        except ConnectorError as error:
            known: RunReport | None = getattr(error, "report", None)
            if known is not None:
                teller.finished(known)
            raise
        teller.finished(report)
        return report
