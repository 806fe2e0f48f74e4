"""The commands around schedules: `serve` runs the jobs of a folder, `status` says how jobs stand, for people and for monitors."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import AsJson, duration, errors, load_job, say, show

if TYPE_CHECKING:
    from connector.serve.service import Service

TICK = 0.5
"""Seconds between two looks at everything."""


def serve(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders of job files, or job files.", show_default=False)],
    *,
    once: Annotated[bool, typer.Option("--once", help="Run what is due now, then end with the highest exit code.")] = False,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where /healthz, /readyz, /metrics and /jobs answer.")
    ] = "127.0.0.1:9480",
    expose: Annotated[bool, typer.Option("--expose", help="Allow an address that other machines can reach.")] = False,
    parallel: Annotated[int, typer.Option(min=1, help="Jobs at a time.")] = 4,
    keep_warm: Annotated[float, typer.Option(parser=duration, metavar="TIME", help="How long a model stays loaded unused.")] = 600.0,
    grace: Annotated[float, typer.Option(parser=duration, metavar="TIME", help="How long a stop waits for runs to end.")] = 60.0,
) -> None:
    """Run the jobs of a folder on their schedules."""
    from connector.commands.running import run_job
    from connector.serve.readiness import prepare
    from connector.serve.service import ServeSettings, Service

    with errors(as_json=False):
        _speak()
        prepare()
        service = Service(paths, run_job, ServeSettings(places=parallel, keep_warm=keep_warm))
        if once:
            _once(service, grace)
        _serve(service, listen, expose=expose, grace=grace)


def _speak() -> None:
    """What serve does is its output: it is told on stderr without -v."""
    import logging

    logging.getLogger("connector.serve").setLevel(logging.INFO)


def _once(service: Service, grace: float) -> None:
    from connector.errors import Interrupted
    from connector.stopping import Stop

    try:
        with Stop().on_signals():
            service.load()
            while service.busy():
                service.tick()
                time.sleep(TICK)
    except Interrupted as stopped:
        _end(service, grace, 128 + stopped.signal_number)
    broken = 2 if service.document()["broken"] else 0
    _end(service, grace, max(service.worst, broken, 4 if service.alive() else 0))


def _serve(service: Service, listen: str, *, expose: bool, grace: float) -> None:
    from connector.errors import Interrupted
    from connector.serve.readiness import Readiness
    from connector.serve.web import address
    from connector.serve.web import listen as answer
    from connector.stopping import Stop

    readiness = Readiness(service.jobs)
    host, port = address(listen, expose=expose)
    server = answer(host, port, service, readiness)
    with contextlib.suppress(Interrupted), Stop().on_signals():
        say(f"listening on http://{host}:{server.server_address[1]}: /healthz /readyz /metrics /jobs")
        service.start()
        readiness.start()
        while True:
            service.tick()
            time.sleep(TICK)
    readiness.end()
    _end(service, grace, 0)


def _end(service: Service, grace: float, code: int) -> None:
    """Asks what runs to end and waits; a second signal, or a run that does not end, leaves it behind as a crash would: then at least 4."""
    from connector.errors import Interrupted
    from connector.stopping import Stop

    service.stop()
    if service.alive():
        say(f"stopping: {', '.join(service.alive())}")
    end = time.monotonic() + grace
    with contextlib.suppress(Interrupted), Stop().on_signals():
        while service.alive() and time.monotonic() < end:
            time.sleep(TICK / 5)
    left = service.alive()
    if left:
        say(f"left behind: {', '.join(left)}; the next start finishes the work")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 4)  # a thread that hangs would keep the process for ever
    raise typer.Exit(code)


def status(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="The job file, or a folder of them.", show_default=False)],
    *,
    max_age: Annotated[
        float | None, typer.Option(parser=duration, metavar="TIME", help="Exit 3 if the last success is older, such as 24h.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a job stands, or all jobs of a folder: last success, lag, rejects, lock, next run."""
    with errors(as_json=as_json):
        document = _folder(job, max_age) if job.is_dir() else _one(job, max_age)
        show(document, as_json=as_json, text=_standings if job.is_dir() else _runs)
        raise typer.Exit(document["exit_code"])


def _one(path: Path, max_age: float | None) -> dict[str, Any]:
    """How a job stands, and its latest runs."""
    from connector.ledger.file import LedgerFile
    from connector.serve.standing import Standing

    job = load_job(path)
    standing = Standing.of(job, max_age)
    with LedgerFile(job.state_path, lock=False, read_only=True) as ledger:
        runs = ledger.runs()
    for one in runs:
        one["report"] = json.loads(one["report"]) if one["report"] else None
    return {**standing.model_dump(), "runs": runs}


def _folder(path: Path, max_age: float | None) -> dict[str, Any]:
    """How every job of a folder stands; the highest exit code, 2 if a file is broken."""
    from connector.errors import ConnectorError
    from connector.serve.folder import Folder
    from connector.serve.standing import Standing

    jobs, broken = [], []
    for found in Folder([path]).look(first=True):
        try:
            if found.job is None:
                broken.append(found.problem)
            else:
                jobs.append(Standing.of(found.job, max_age).model_dump())
        except ConnectorError as error:
            broken.append(str(error))
    return {"jobs": jobs, "broken": broken, "exit_code": max([2 if broken else 0, *(one["exit_code"] for one in jobs)])}


def _standings(document: dict[str, Any]) -> str:
    from connector.serve.standing import Standing

    lines = [str(Standing(**one)) for one in document["jobs"]] + [f"broken: {problem}" for problem in document["broken"]]
    return "\n".join(lines) or "no job files"


def _runs(document: dict[str, Any]) -> str:
    from connector.report import RunReport
    from connector.serve.standing import Standing

    lines = [str(Standing(**{name: value for name, value in document.items() if name != "runs"}))]
    for one in document["runs"]:
        report = RunReport(**one["report"]) if one["report"] else None
        lines.append(f"{one['id']}  exit {one['exit_code']}  " + (str(report).splitlines()[0] if report else "did not end by itself"))
        if report and report.message:
            lines.append(f"    {report.message}")
    return "\n".join(lines)
