"""The command line: thin commands over the modules that do the work; results on stdout, everything else on stderr.

Heavy modules are imported inside the commands, so that `--help` answers at once. Exit codes are those of the error tree (`errors.py`); 10
means that `plan` has changes.

    jobs.py     run, search                             looking.py  check, bench, plugins
    serving.py  serve, status
    changing.py plan, apply, copy, promote, rollback, prune
    rejects.py  rejects list, show, retry, export       setup.py    init, schema json, models pull
    upkeep.py   verify, forget, purge                   state.py    state show, export, import, rebuild, reset
    schemas.py  schema pull, schema docs, adopt
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Annotated, Literal

import typer

from connector.cli import changing, jobs, looking, rejects, schemas, serving, setup, state, upkeep
from connector.observe.logs import configure

__all__ = ["app", "main"]

app = typer.Typer(
    name="connector",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help would cost a third of what the command takes to answer
    help="Keeps Milvus vector collections in step with your data.",
)
for _command in (setup.init, looking.check, changing.plan, changing.apply, jobs.run, jobs.search, serving.serve, serving.status):
    app.command()(_command)
app.command()(looking.bench)
app.command()(looking.plugins)
app.command()(schemas.adopt)
for _command in (changing.copy, changing.promote, changing.rollback, changing.prune):
    app.command()(_command)
for _upkeep in (upkeep.verify, upkeep.forget, upkeep.purge):
    app.command()(_upkeep)
app.add_typer(rejects.app)
app.add_typer(state.app)
app.add_typer(schemas.schema)
app.add_typer(setup.models)


def main() -> None:
    """Entry point of the `connector` command."""
    logging.captureWarnings(capture=True)
    with contextlib.suppress(BrokenPipeError):
        app()


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if asked:
        from importlib.metadata import version

        typer.echo(f"connector {version('connector')}")
        raise typer.Exit


@app.callback()
def _setup(
    context: typer.Context,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="The same as --log-level info.")] = False,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(envvar="CONNECTOR_LOG_LEVEL", help="Least level of log lines."),
    ] = "warning",
    log_format: Annotated[
        Literal["human", "json"], typer.Option(envvar="CONNECTOR_LOG_FORMAT", help="Lines for people, or one JSON object a line.")
    ] = "human",
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    del version  # its callback has ended the command
    asked = logging.getLevelNamesMapping()[log_level.upper()]
    level = min(logging.INFO, asked) if verbose else asked
    bars = log_format == "human" and sys.stderr.isatty() and context.invoked_subcommand == "models"  # the bars of others would cross ours
    context.call_on_close(configure(level, log_format, bars=bars))
