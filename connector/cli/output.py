"""What every command shares: its arguments, and how results and errors leave it.

Results go to stdout, as text or as one JSON document; everything else goes to stderr. An error becomes a message and the exit code of
its type (`errors.py`).
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.durations import seconds_of
from connector.errors import ConnectorError, exit_code
from connector.observe.logs import as_lines, line, working_for
from connector.observe.masking import hide

if TYPE_CHECKING:
    from connector.job import Job

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def duration(text: str) -> float:
    """Seconds of a time such as 50m, 1h30m, 90s or 90.

    Raises:
        typer.BadParameter: It is none.
    """
    try:
        return seconds_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def load_job(path: Path) -> Job:
    """The job in a file; `connector.job` is imported here, so that `--help` does not wait for it."""
    from connector.job import Job

    job = Job.from_yaml(path)
    hide(job.secrets)
    return job


@contextlib.contextmanager
def errors(*, as_json: bool) -> Iterator[None]:
    """Turns errors into a message on stderr (with --json a document on stdout) and an exit code."""
    try:
        yield
    except ConnectorError as error:
        code = exit_code(error)
        report = getattr(error, "report", None)
        if as_json:
            document = report.model_dump() if report is not None else {"exit_code": code}
            typer.echo(json.dumps({**document, "error": type(error).__name__, "message": error.message, "hint": error.hint}, default=str))
        elif report is not None:
            say(str(report) if report.collection else "\n".join(f"note: {note}" for note in report.notes))
        with working_for(report.job, report.run_id) if report is not None else contextlib.nullcontext():
            say(f"{type(error).__name__}: {error}", logging.ERROR)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        say("stopped; run the same command again to go on")
        raise typer.Exit(130) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception:
        if not as_lines():
            raise  # a person reads the traceback as it is
        logging.getLogger("connector").critical("a bug ended the command", exc_info=True)
        raise typer.Exit(1) from None


def say(text: str, level: int = logging.INFO) -> None:
    """Writes a line to stderr; the level matters where lines are JSON."""
    if text:
        typer.echo(line(text, level), err=True)


def show(document: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    """Writes the result to stdout: the document as JSON, or what `text` makes of it."""
    typer.echo(json.dumps(document, default=str, ensure_ascii=False) if as_json else text(document))
