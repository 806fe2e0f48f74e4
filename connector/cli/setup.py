"""The commands around a job: `init` writes one to begin with, `schema json` helps to edit it, `models pull` fetches what it needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, show
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.commands.pulling import Pulled

schema = typer.Typer(name="schema", no_args_is_help=True, help="Schemas: pulled from Milvus, as a page to read; the JSON Schema of jobs.")
models = typer.Typer(name="models", no_args_is_help=True, help="The models that a job's schema names.")


@schema.callback()
@models.callback()
def _group() -> None:
    """Keeps a group of one command a group."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Made if it does not exist.")] = Path(),
    *,
    template: Annotated[str, typer.Option(metavar="text|images|table|stack", help="What to begin with.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Write a working job, its schema and a little data, or the secrets of the compose stack; never over anything."""
    from connector.commands.scaffold import needs, scaffold, stack_secrets

    with errors(as_json=as_json):
        if template == "stack":
            written = [stack_secrets(folder).name]
            following = [f"docker compose -f {folder / 'compose.yaml'} up --build"]
            document = {"folder": str(folder), "template": template, "written": written, "needs": [], "next": following, "exit_code": 0}
            show(document, as_json=as_json, text=lambda _: "\n".join([f"wrote {folder / '.env'}, which only you may read", *following]))
            return
        written = scaffold(folder, template)
        [job] = [name for name in written if name.startswith("jobs/")]
        following = [*([f"cd {folder}"] if folder != Path() else []), f"connector check {job}", f"connector run {job}"]
        missing = needs(template)
        document = {"folder": str(folder), "template": template, "written": written, "needs": missing, "next": following, "exit_code": 0}
        lines = [*(f"wrote {name}" for name in written), *(f"needs {one}" for one in missing), *following]
        show(document, as_json=as_json, text=lambda _: "\n".join(lines))


@schema.command("json")
def json_(out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of to stdout.")] = None) -> None:
    """Print the JSON Schema of job files, with the keys of every installed source."""
    from connector.job.json_schema import job_schema

    with errors(as_json=False):
        text = json.dumps(job_schema(), indent=2, ensure_ascii=False)
        if out is None:
            typer.echo(text)
            return
        write(out, f"{text}\n")
        typer.echo(f"wrote {out}; name it in the first line of a job: # yaml-language-server: $schema={out.name}")


def write(path: Path, text: str) -> None:
    """Writes a file that a command was asked for.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}", hint="give a file in a folder that exists") from None


@models.command("pull")
def pull(job: JobFile, *, as_json: AsJson = False) -> None:
    """Download the models of a job and print the commits to pin."""
    from connector.commands.pulling import pull_models

    with errors(as_json=as_json):
        parsed = load_job(job)
        found = pull_models(parsed)
        document = {"job": parsed.job, "models": [asdict(one) for one in found], "exit_code": 0}
        show(document, as_json=as_json, text=lambda _: "\n".join(map(_pulled, found)) or "the schema names no encoder")


def _pulled(one: Pulled) -> str:
    fields = ", ".join(one.fields)
    if not one.commit:
        return f"{fields}: {one.encoder}: a package or a folder, nothing to fetch and nothing to pin"
    return f"{fields}: {one.encoder}: here; " + ("pinned" if one.pinned else f'to pin it, write encoder="{one.pin}"')
