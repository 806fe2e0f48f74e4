"""A folder of job files on one Milvus Lite file, whose user code does what jobs do at their worst, as its tests command it by files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.commands.running import run_job
from connector.serve.service import ServeSettings, Service
from tests.workfolder import SCHEMA

STEPS = '''
"""Transforms: what a row meets on its way."""
import time
from pathlib import Path

def plain(row):
    return row

def crash(row):
    raise SystemExit("a transform that ends the process")

def wait(row):
    """Until the file `go` exists; the file `waiting` says that it has begun."""
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return row
'''


class Workplace:
    """A working folder with jobs in it, which share one collection."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "jobs").mkdir()
        (root / "notes").mkdir()
        self.put("schema.py", SCHEMA)
        self.put("steps.py", STEPS)
        self.put("notes/a.txt", "about tea")
        self.put("notes/b.txt", "about coffee")

    @property
    def hangs(self) -> bool:
        """Whether a job waits in its transform by now: on a slow machine it may have been stopped before, and tried again."""
        return (self.root / "waiting").exists()

    def put(self, name: str, content: str) -> Path:
        """Writes a file at once, as careful programs do; an old time, so that the listing trusts it."""
        path, draft = self.root / name, self.root / "draft"
        draft.write_text(content)
        os.utime(draft, ns=(10**18, 10**18 + time.monotonic_ns() % 10**9))
        draft.replace(path)
        return path

    def job(self, name: str, schedule: str | None = "every: 1h", *, file: str = "", more: str = "") -> Path:
        """Writes a job."""
        lines = [f"job: {name}", "source: {kind: files, root: notes}", "into: schema.py:Notes", "milvus: {uri: notes.db}", "workers: 0"]
        lines += [f"schedule: {{{schedule}}}"] if schedule else []
        return self.put(f"jobs/{file or name}.yaml", "\n".join([*lines, more, ""]))

    def service(self, **settings: Any) -> Service:
        """Looks at the files at every tick."""
        return Service([self.root / "jobs"], run_job, ServeSettings(**{"look": 0.0, **settings}))


def wait(service: Service, condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Lets a service work until something is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds} s: {service.document()}"
        service.tick()
        time.sleep(0.02)


def state(service: Service, name: str) -> dict[str, Any]:
    """What is told of a job; {} if it is not served."""
    found: list[dict[str, Any]] = [one for one in service.document()["jobs"] if one["job"] == name]
    return found[0] if found else {}


def code(service: Service, name: str) -> int | None:
    """The exit code of a job's latest run; None if it has not run, or runs."""
    told = state(service, name)
    return told["last"]["exit_code"] if told.get("last") and not told["running"] else None
