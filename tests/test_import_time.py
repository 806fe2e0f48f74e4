"""Starting is quick: nothing heavy is imported before it is needed."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

MODELS = ("apscheduler", "grpc", "milvus_lite", "pymilvus", "tokenizers", "torch", "transformers", "timm")
HEAVY = (*MODELS, "huggingface_hub", "numpy", "pandas", "pydantic", "rich", "sqlite3", "typer", "yaml")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules a new process has loaded after this code."""
    code = f"{code}\nimport sys\nprint(*(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def seconds(arguments: list[str], *, enough: float, tries: int = 12) -> float:
    """The least processor time of several runs of a new process, so that what else the machine does decides nothing.

    On an idle machine it is the time from the shell to the last line: nothing here waits.
    """
    least = float("inf")
    for _ in range(tries):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if least <= enough:
            break
    return least


def test_importing_the_package_imports_nothing_heavy() -> None:
    """`import connector` is for everybody who only wants a name from it."""
    assert loaded("import connector", HEAVY) == []


def test_every_public_name_is_there() -> None:
    """The names are loaded on first use; each of them exists, and an unknown one is an AttributeError as usual."""
    import connector

    assert {name for name in connector.__all__ if getattr(connector, name) is None} == set()
    assert set(connector.__all__) <= set(dir(connector))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = connector.nothing


@pytest.mark.parametrize("module", ["commands.running", "api.sdk", "schema", "commands.searching", "cli", "job", "testing.encoders"])
def test_the_core_loads_no_model_library_and_no_client(module: str) -> None:
    """`plan` and a run without changes need no torch; a job file is checked without a client."""
    assert loaded(f"import connector.{module}", MODELS) == []


def test_a_job_is_checked_without_a_client() -> None:
    """A mistake in a job file is told in milliseconds."""
    values = {"job": "j", "source": {"kind": "files"}, "into": "x", "milvus": {"uri": "./m.db"}}
    assert loaded(f"from connector.job import Job\nJob.check({values}, 'w')", MODELS) == []


def test_importing_the_package_is_quick() -> None:
    """At most 0.15 seconds, the interpreter's own start-up included."""
    assert seconds(["-c", "import connector"], enough=0.15) <= 0.15


def test_help_is_quick() -> None:
    """At most 0.4 seconds from the shell to the last line of `--help`."""
    assert seconds(["-c", "import sys; sys.argv[1:] = ['--help']; from connector.cli import main; main()"], enough=0.4) <= 0.4
