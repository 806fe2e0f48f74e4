"""The commands that only look: `check` tries a job on a few documents, `bench` measures it, `plugins` says what is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, say, show
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.stopping import Stop


def check(job: JobFile, *, as_json: AsJson = False) -> None:
    """Try a job on its first ten documents; write nothing; exit 3 if one would be rejected."""
    from connector.commands.checking import check_job

    with errors(as_json=as_json):
        result = check_job(load_job(job))
        show(result.model_dump(), as_json=as_json, text=lambda _: str(result))
        if result.message:
            say(result.message)
        raise typer.Exit(result.exit_code)


def bench(  # noqa: PLR0913 - one for each option
    job: JobFile,
    *,
    device: Annotated[str | None, typer.Option(help="Measure on this device instead of the job's own: cpu, cuda, cuda:1.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long the sample keeps one station after the other busy.")] = 20.0,
    no_write: Annotated[bool, typer.Option("--no-write", help="Write nowhere, not even to a throw-away collection.")] = False,
    index: Annotated[bool, typer.Option("--index", help="Measure the indexes of a vector field instead, on live vectors.")] = False,
    field: Annotated[str | None, typer.Option(help="With --index: the vector field, where there are several.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="With --index: most vectors that are indexed.")] = 20_000,
    queries: Annotated[int, typer.Option(min=1, help="With --index: most vectors that are searched for.")] = 200,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="With --index: draw recall against queries a second.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write what each station of the pipeline did when, for ui.perfetto.dev.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the model, each station and the pipeline on a sample, or with --index the indexes; touches nothing of the job."""
    from connector.commands.benching import bench_job
    from connector.commands.timeline import Timeline
    from connector.stopping import Stop

    stop, turns = Stop(), Timeline() if timeline else None
    with errors(as_json=as_json), stop.on_signals():
        if index:
            if device is not None or no_write or timeline is not None:
                raise ConfigError("--device, --no-write and --timeline are of the measurement of the pipeline", hint="leave --index out")
            _bench_indexes(job, field, rows, queries, plot=plot, stop=stop, as_json=as_json)
            return
        if field is not None or plot is not None:
            raise ConfigError("--field and --plot are of the measurement of indexes", hint="add --index")
        if timeline is not None and not timeline.absolute().parent.is_dir():
            raise ConfigError(f"{timeline}: there is no such folder", hint="give a file in a folder that exists")
        result = bench_job(load_job(job), seconds=seconds, device=device, write=not no_write, stop=stop, timeline=turns)
        if timeline is not None and turns is not None:
            timeline.write_text(json.dumps(turns.chrome()), encoding="utf-8")
        show(result.document() if as_json else result, as_json=as_json, text=str)


def _bench_indexes(job: Path, field: str | None, rows: int, queries: int, *, plot: Path | None, stop: Stop, as_json: bool) -> None:
    from connector.commands.indexbench.bench import bench_indexes
    from connector.commands.indexbench.plot import svg

    if plot is not None and not plot.absolute().parent.is_dir():
        raise ConfigError(f"{plot}: the folder does not exist", hint="give a file in a folder that exists")
    found = bench_indexes(load_job(job), field=field, rows=rows, queries=queries, stop=stop)
    if plot is not None:
        plot.write_text(svg(found), encoding="utf-8")
    show(found.document() if as_json else found, as_json=as_json, text=str)


def plugins(*, as_json: AsJson = False) -> None:
    """List sources, parsers, splitters and encoders, and what is missing of any."""
    from connector import registry

    with errors(as_json=as_json):
        found = {group: {point.name: point.value for point in registry.points(group)} for group in registry.GROUPS}
        missing = {group: broken for group in registry.GROUPS if (broken := _missing(group))}
        show({**found, "missing": missing, "exit_code": 0}, as_json=as_json, text=_plugins)


def _missing(group: str) -> dict[str, str]:
    """Name to what is wrong, of the plugins that do not import."""
    from connector import registry

    found = {}
    for name in registry.names(group):
        try:
            registry.load(group, name)
        except ConfigError as error:
            found[name] = str(error)
    return found


def _plugins(document: dict[str, Any]) -> str:
    missing = document["missing"]
    lines = [f"{group}: {', '.join(document[group])}" for group in document if isinstance(document[group], dict) and group != "missing"]
    return "\n".join([*lines, *(f"missing: {name}: {why}" for group in missing for name, why in missing[group].items())])
