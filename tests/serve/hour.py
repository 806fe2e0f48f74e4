"""An hour of schedules in a minute, with all that goes wrong in one, and everything in step in the end.

`connector serve` runs as a process; of its jobs one crashes, one hangs, the file of one is broken and mended, their data changes all the
time, and Milvus is killed in the middle and comes back. Run it with `make serve-demo`: a minute of the schedule takes a second. It prints
the state before and after, and fails unless every collection is in the end what its source is. The suite runs it faster, on Milvus Lite,
where nothing can be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.commands.verifying import verify_job
from connector.job import Job
from connector.milvus.settings import MilvusSettings
from connector.testing.server import MilvusServer

COMMAND = [sys.executable, "-c", "from connector.cli import main; main()"]
SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField

class Notes(Collection):
    """Passages of notes; several jobs share it."""
    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=60)
    text: str = Field(max_length=4000)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")
'''
STEPS = """
import time
from pathlib import Path

def crash(row):
    raise SystemExit("a transform that ends the process")

def hang(row):
    while not Path("mended").exists():
        time.sleep(0.1)
    return row
"""
HANG = "transform: hour_steps:hang"


@dataclass
class Hour:
    """The story.

    Attributes:
        folder: Where it plays.
        milvus: The connection, as YAML.
        minute: Seconds that a minute of it takes.
        outage: Takes Milvus away, and brings it back when the block ends; None: nothing does.
        tell: Called with every line.
    """

    folder: Path
    milvus: str
    minute: float
    outage: Callable[[], contextlib.AbstractContextManager[None]] | None = None
    tell: Callable[[str], None] = print
    _changes: int = field(default=0, init=False)

    def job(self, name: str, every: float, more: str = "", *, schedule: str = "") -> None:
        """Writes a job that runs every so many minutes."""
        lines = [
            f"job: {name}",
            f"source: {{kind: files, root: {name}}}",
            "into: schema.py:Notes",
            f"milvus: {self.milvus}",
            "sync: mirror",
            f"schedule: {schedule or f'{{every: {every * self.minute}s, hang_limit: {max(5.0, 10 * self.minute)}s}}'}",
        ]
        (self.folder / name).mkdir(exist_ok=True)
        if not (note := self.folder / name / "first.txt").exists():  # to a transform, a file that was touched is another one
            note.write_text("a first note")
        draft = self.folder / "draft"
        draft.write_text("\n".join([*lines, more, ""]))
        draft.replace(self.folder / "jobs" / f"{name}.yaml")

    def play(self) -> None:
        """From the first minute to the last, and then until everything is in step."""
        (self.folder / "jobs").mkdir()
        (self.folder / "schema.py").write_text(SCHEMA)
        (self.folder / "hour_steps.py").write_text(STEPS)
        for name, every in (("catalogue", 5), ("handbook", 8), ("late", 10)):
            self.job(name, every)
        self.job("crash", 10, "transform: hour_steps:crash")
        self.job("hang", 10, HANG)
        self.job("late", 0, schedule="{cron: '61 * * * *'}")
        with self.served() as ask:
            self.until(lambda: self.state(ask, "catalogue") and self.succeeded(ask, "catalogue"))
            self.show("after the first minutes", ask)
            self.minutes(15)
            self.job("late", 10)
            self.tell("-- the broken file is mended")
            self.minutes(15)
            with self.outage() if self.outage else contextlib.nullcontext():
                self.minutes(10)
                if self.outage:
                    self.until(lambda: "ready" not in self.ready(ask))
                    self.tell(f"-- while Milvus is away, /readyz says: {self.ready(ask)}")
            self.minutes(20)
            (self.folder / "mended").touch()
            self.job("crash", 10)
            self.tell("-- the code of the others is mended; nothing changes any more")
            names = ("catalogue", "handbook", "late", "crash", "hang")
            quiet = time.time()
            self.until(lambda: all(self.succeeded(ask, name, since=quiet) for name in names))
            for name in names:
                self.job(name, 0, HANG if name == "hang" else "", schedule="{cron: '@yearly'}")
            self.until(lambda: all(self.state(ask, name)["state"] == "idle" for name in names))
            self.show("in the end", ask)
        for name in names:
            self.verify(name)

    @contextlib.contextmanager
    def served(self) -> Iterator[Callable[[str], str]]:
        """The process, and a function that asks it over HTTP."""
        command = [*COMMAND, "serve", "jobs", "--listen", "127.0.0.1:0", "--parallel", "3"]
        log = (self.folder / "serve.log").open("w")
        with log, subprocess.Popen(command, cwd=self.folder, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
            try:
                self.until(lambda: "listening on" in self.log)
                where = self.log.split("listening on ")[1].split(":", 3)
                base = ":".join(where[:3])
                yield lambda path: _get(base, path)
                process.send_signal(signal.SIGTERM)
                code = process.wait(120)
                assert code == 0, self.log
            finally:
                process.kill()

    @property
    def log(self) -> str:
        """What the process said."""
        return (self.folder / "serve.log").read_text()

    def until(self, condition: Callable[[], object], seconds: float = 240.0) -> None:
        """Waits for something."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    def minutes(self, count: int) -> None:
        """Lets time go by, in which people write, change and delete notes."""
        for _ in range(count):
            self._changes += 1
            for name in ("catalogue", "handbook", "late"):
                (self.folder / name / f"note-{self._changes % 13}.txt").write_text(f"note of change {self._changes}")
                (self.folder / name / f"note-{(self._changes + 5) % 13}.txt").unlink(missing_ok=True)
            time.sleep(self.minute)

    def state(self, ask: Callable[[str], str], name: str) -> dict[str, Any]:
        """What is told of a job."""
        found: list[dict[str, Any]] = [one for one in json.loads(ask("/jobs"))["jobs"] if one["job"] == name]
        return found[0] if found else {}

    def succeeded(self, ask: Callable[[str], str], name: str, since: float = 0.0) -> bool:
        """Whether a run that began after that moment ended well."""
        last = self.state(ask, name).get("last")
        return bool(last and last["exit_code"] == 0 and last["started"] > since)

    @staticmethod
    def ready(ask: Callable[[str], str]) -> str:
        """What `/readyz` says, in a line."""
        return ask("/readyz").strip().replace("\n", "; ")

    def show(self, when: str, ask: Callable[[str], str]) -> None:
        """Prints a line a job."""
        document = json.loads(ask("/jobs"))
        self.tell(f"-- {when}; models loaded: {', '.join(document['models']) or 'none'}")
        for one in document["jobs"]:
            last = one["last"]
            ended = f"exit {last['exit_code']}, {last['counts']['written']} written  {last['message'][:70]}" if last else "no run has ended"
            self.tell(f"{one['job']:10} {one['state']:8} {ended}")
        for one in document["broken"]:
            self.tell(f"{Path(one['file']).stem:10} broken   {one['problem'].partition(': ')[2][:90]}")

    def verify(self, name: str) -> None:
        """Compares the collection with the source."""
        sys.modules.pop("hour_steps", None)  # of another story in this process
        with contextlib.chdir(self.folder):
            found = verify_job(Job.from_yaml(f"jobs/{name}.yaml"), full=True, source=True)
        self.tell(f"{name:10} verify: {' '.join(str(found).split())[:110]}")
        assert found.exit_code == 0, str(found)


def _get(base: str, path: str) -> str:
    try:
        with urllib.request.urlopen(base + path, timeout=60) as answer:  # noqa: S310 - our own process
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def on_a_server(folder: Path, server: MilvusServer, minute: float) -> None:
    """The hour on a real server, which is killed in the middle."""

    @contextlib.contextmanager
    def outage() -> Iterator[None]:
        server.kill()
        print("-- Milvus is killed")  # noqa: T201 - a script that prints
        yield
        server.restart()
        print("-- Milvus is back")  # noqa: T201 - as above

    settings: MilvusSettings = server.settings()
    Hour(folder, f"{{uri: '{settings.uri}', retry_deadline: 20}}", minute, outage).play()


def main() -> None:
    """`python -m tests.serve.hour`: a second a minute."""
    with tempfile.TemporaryDirectory() as folder, MilvusServer(Path(folder) / "milvus") as server:
        story = Path(folder) / "story"
        story.mkdir()
        on_a_server(story, server, 1.0)


if __name__ == "__main__":
    main()
