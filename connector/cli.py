"""The command line: thin commands over `assembly`, results on stdout, everything else on stderr.

Heavy modules are imported inside the commands, so that `--help` answers at once. Exit codes are those of the error tree (`errors.py`); 10
means that `plan` has changes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.errors import ConnectorError

if TYPE_CHECKING:
    from connector.job import Job

HAS_CHANGES = 10
SHOWN = 160  # characters of a field in a hit

app = typer.Typer(
    name="connector",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps Milvus vector collections in step with your data.",
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def main() -> None:
    """Entry point of the `connector` command."""
    with contextlib.suppress(BrokenPipeError):
        app()


@app.callback()
def _setup(*, verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, on stderr.")] = False) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@app.command()
def check(job: JobFile, *, as_json: AsJson = False) -> None:
    """Read the job, connect, describe the encoder; change nothing."""
    from connector.building import Parts
    from connector.milvus import features
    from connector.milvus.client import connect

    with _errors(as_json=as_json):
        parts = Parts.of(_job(job))
        with connect(parts.job.milvus) as connection:
            features.check(parts.spec, connection.server)
            server = connection.server.text
        encoders = {binding.field.name: binding.field.encoder for binding in parts.bindings}
        _print(
            {"job": parts.job.job, "collection": parts.spec.name, "server": server, "encoders": encoders, "exit_code": 0},
            as_json=as_json,
            text=_lines,
        )


@app.command()
def plan(job: JobFile, *, as_json: AsJson = False) -> None:
    """Show what `apply` would do; exit 10 if there is anything."""
    from connector.assembly import plan as make
    from connector.plan import render

    with _errors(as_json=as_json):
        actions = make(_job(job))
        shown = [{"action": type(action).__name__, "description": action.describe()} for action in actions]
        _print({"changes": shown, "exit_code": HAS_CHANGES if actions else 0}, as_json=as_json, text=lambda _: render(actions))
        if actions:
            raise typer.Exit(HAS_CHANGES)


@app.command()
def apply(job: JobFile, *, as_json: AsJson = False) -> None:
    """Create the collection, its indexes and its alias, as far as they are missing."""
    from connector.assembly import apply as do
    from connector.plan import render

    with _errors(as_json=as_json):
        actions = do(_job(job))
        shown = [{"action": type(action).__name__, "description": action.describe()} for action in actions]
        _print({"changes": shown, "exit_code": 0}, as_json=as_json, text=lambda _: render(actions))


@app.command()
def run(
    job: JobFile,
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="List at most this many documents; sweeps nothing.")] = None,
    select: Annotated[str | None, typer.Option(metavar="GLOB", help="Only documents whose key matches; sweeps nothing.")] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Read and write every document again.")] = False,
    allow_mass_delete: Annotated[bool, typer.Option("--allow-mass-delete", help="Lift the brake on deleting vanished documents.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the collection in step with the source."""
    from connector.assembly import run_job
    from connector.progress import progress
    from connector.stations import Options
    from connector.stopping import Stop

    options = Options(limit=limit, select=select, full_refresh=full_refresh, allow_mass_delete=allow_mass_delete)
    stop = Stop()
    with _errors(as_json=as_json), stop.on_signals():
        parsed = _job(job)
        with progress(parsed.job) as show:
            report = run_job(parsed, options, stop, on_progress=show)
        _print(report.model_dump(), as_json=as_json, text=lambda _: str(report))
        if report.message:
            _say(report.message)
        raise typer.Exit(report.exit_code)


@app.command()
def search(
    job: JobFile,
    words: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    *,
    like: Annotated[str | None, typer.Option(metavar="KEY", help="Look for rows like the one with this primary key.")] = None,
    field: Annotated[str | None, typer.Option(help="The vector field, if there are several.")] = None,
    where: Annotated[str, typer.Option("--filter", metavar="EXPR", help="Milvus filter expression.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most hits.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find the rows nearest to some words, with the encoder that wrote the vectors."""
    from connector.errors import ConfigError
    from connector.searching import Key, search_job

    with _errors(as_json=as_json):
        if (words is None) == (like is None):
            raise ConfigError("look for what?", hint='give words, or --like KEY: connector search JOB "red shoe"')
        query = Key(like) if like is not None else str(words)
        hits = search_job(_job(job), query, field=field, limit=limit, where=where)
        _print([asdict(hit) for hit in hits], as_json=as_json, text=_hits)


@app.command()
def status(job: JobFile, *, as_json: AsJson = False) -> None:
    """Show the latest runs of a job."""
    from connector.ledger_file import LedgerFile, running

    with _errors(as_json=as_json):
        parsed = _job(job)
        runs: list[dict[str, Any]] = []
        if parsed.state_path.exists():
            with LedgerFile(parsed.state_path, lock=False) as ledger:
                runs = ledger.runs()
        for one in runs:
            one["report"] = json.loads(one["report"]) if one["report"] else None
        now = running(parsed.state_path) if parsed.state_path.parent.exists() else ""
        _print({"job": parsed.job, "runs": runs, "running": now, "exit_code": 0}, as_json=as_json, text=_runs)


@app.command()
def plugins(*, as_json: AsJson = False) -> None:
    """List sources, parsers, splitters and encoders."""
    from connector import registry

    with _errors(as_json=as_json):
        found = {group: {point.name: point.value for point in registry.points(group)} for group in registry.GROUPS}
        _print(found, as_json=as_json, text=lambda _: "\n".join(f"{group}: {', '.join(names)}" for group, names in found.items()))


def _job(path: Path) -> Job:
    from connector.job import Job

    return Job.from_yaml(path)


@contextlib.contextmanager
def _errors(*, as_json: bool) -> Iterator[None]:
    """Turns errors into a message on stderr (with --json a document on stdout) and an exit code."""
    try:
        yield
    except ConnectorError as error:
        from connector.assembly import exit_code

        code = exit_code(error)
        report = getattr(error, "report", None)
        if as_json:
            document = report.model_dump() if report is not None else {"exit_code": code}
            typer.echo(json.dumps({**document, "error": type(error).__name__, "message": error.message, "hint": error.hint}, default=str))
        elif report is not None:
            _say(str(report))
        _say(f"{type(error).__name__}: {error}")
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        _say("stopped; run the same command again to go on")
        raise typer.Exit(130) from None


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print(document: Any, *, as_json: bool, text: Callable[[Any], str]) -> None:
    typer.echo(json.dumps(document, default=str, ensure_ascii=False) if as_json else text(document))


def _lines(document: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in document.items())


def _hits(hits: list[dict[str, Any]]) -> str:
    return (
        "\n".join(
            f"{hit['distance']:.3f}  {hit['id']}\n" + "\n".join(f"    {k}: {_short(v)}" for k, v in hit["fields"].items()) for hit in hits
        )
        or "nothing found"
    )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _runs(document: dict[str, Any]) -> str:
    from connector.report import RunReport

    lines = [f"{document['job']}: {len(document['runs'])} runs" + (f", running: {document['running']}" if document["running"] else "")]
    for one in document["runs"]:
        report = RunReport(**one["report"]) if one["report"] else None
        lines.append(f"{one['id']}  exit {one['exit_code']}  " + (str(report).splitlines()[0] if report else "did not end by itself"))
    return "\n".join(lines)
