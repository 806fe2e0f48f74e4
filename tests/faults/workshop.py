"""A job over a folder of notes, run as a child process that can be killed, and an oracle that recomputes what must be in the collection."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.commands.running import run_job
from connector.job import Job
from connector.job.loading import load_collection
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.record import Row
from connector.report import RunReport
from connector.stations import Options
from connector.testing.encoders import fake_vector
from connector.testing.failpoints import environment
from connector.testing.oracle import compare
from tests import children
from tests.secrets import shown

SCHEMA = '''
from __future__ import annotations
from connector.schema import Collection, Field, Vector, VectorField

class Notes(Collection):
    """One row a line."""
    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=200)
    text: str = Field(max_length=200)
    ordinal: int
    vector: Vector = VectorField(dim=8, encoder="fake:fake")
'''
JOB = """
version: 1
job: notes
source: {{kind: files, root: notes, include: "*.txt"}}
into: notes_schema.py:Notes
milvus: {milvus}
transform: notes_lines:lines
split: {{by: none}}
sync: mirror
workers: {workers}
state: state.db
"""
LINES = '''
def lines(row):
    """One row a line of the note."""
    return [{**row, "text": line} for line in row["text"].splitlines() if line.strip()]
'''

WORDS = ["run", "job.yaml", "--json"]
COMMAND = [sys.executable, "-c", "from connector.cli import main; main()", *WORDS]


@dataclass
class Workshop:
    """The job's folder.

    Attributes:
        folder: Where everything lies.
        uri: Of Milvus.
        workers: Of the job.
        milvus: The other keys of its `milvus:` block.
        delay: Seconds that the encoder takes for a line.
    """

    folder: Path
    uri: str = "notes.db"
    workers: int = 2
    milvus: dict[str, Any] = field(default_factory=dict)
    delay: float = 0.0

    def __post_init__(self) -> None:
        (self.folder / "notes").mkdir()
        slow = f'encoder="fake:fake", delay={self.delay}'
        (self.folder / "notes_schema.py").write_text(SCHEMA.replace('encoder="fake:fake"', slow) if self.delay else SCHEMA)
        (self.folder / "notes_lines.py").write_text(LINES)
        self.configure()

    def configure(self, **milvus: Any) -> None:
        """Writes the job, with these keys of its `milvus:` block changed."""
        self.milvus |= milvus
        block = json.dumps({"uri": self.uri, **self.milvus})
        (self.folder / "job.yaml").write_text(JOB.format(milvus=block, workers=self.workers))

    def write(self, name: str, lines: int | list[str]) -> None:
        """A note with so many lines, or with these; an old modification time, so that the listing trusts it."""
        content = [f"{name} line {number}" for number in range(lines)] if isinstance(lines, int) else lines
        path = self.folder / "notes" / f"{name}.txt"
        before = path.stat().st_mtime if path.exists() else 1_000_000_000
        path.write_text("\n".join(content))
        os.utime(path, (before + 10, before + 10))

    def remove(self, name: str) -> None:
        """Deletes a note."""
        (self.folder / "notes" / f"{name}.txt").unlink()

    def run(self, failpoint: str = "", *options: str) -> subprocess.CompletedProcess[str]:
        """One run in a process of its own."""
        done = children.run([*WORDS, *options], self.folder, environment(failpoint))
        assert shown(done.stdout + done.stderr) == []
        return done

    def expect_ok(self, *options: str) -> dict[str, Any]:
        """Runs, expects success, returns the report."""
        done = self.run("", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def here(self, **options: Any) -> RunReport:
        """A run in this process, whose working folder must be the workshop's; much quicker than a child."""
        return run_job(Job.from_yaml("job.yaml"), Options(**options))

    def expected(self) -> dict[tuple[str, int], Row]:
        """What the collection must hold by (path, ordinal), worked out without any of the stations."""
        return {
            (path.name, ordinal): {"text": line, "vector": fake_vector(line)}
            for path in sorted((self.folder / "notes").glob("*.txt"))
            for ordinal, line in enumerate(path.read_text().splitlines())
        }

    def compare(self) -> dict[str, int]:
        """The oracle: how many rows are missing, doubled, stale or foreign; all must be 0."""
        os.environ["PWD"] = str(self.folder)
        uri = self.uri if "://" in self.uri else str(self.folder / self.uri)
        reach = {name: value for name, value in self.milvus.items() if name not in {"timeout", "retry_deadline"}}
        with connect(MilvusSettings(uri=uri, **reach)) as connection:
            sink = MilvusSink(connection, "notes__g1", load_collection(str(self.folder / "notes_schema.py") + ":Notes"))
            rows = [((row["path"], row["ordinal"]), row) for row in sink.scan(None, ["id", "path", "ordinal", "text", "vector"])]
            return compare(self.expected(), rows, counted=sink.count(), tolerance=0).counts

    def converged(self, injected: str) -> bool:
        """Whether the oracle finds nothing wrong; noted in the table."""
        found = self.compare()
        TABLE.append((injected, found))
        return found == NOTHING_WRONG

    def start(self, failpoint: str = "") -> children.Child:
        """A run that goes on in the background."""
        return children.Child(WORDS, self.folder, environment(failpoint))


TABLE: list[tuple[str, dict[str, int]]] = []
NOTHING_WRONG = {"missing": 0, "doubled": 0, "stale": 0, "foreign": 0}


def history(shop: Workshop) -> None:
    """A first state of the folder, with documents of no, one and many lines."""
    for number in range(12):
        shop.write(f"note{number}", number % 5)
    shop.write("long", 60)


def change(shop: Workshop) -> None:
    """A second state: a shrunk, a changed, a new and a deleted document."""
    shop.write("long", 2)
    shop.write("note3", ["changed"])
    shop.write("new", 7)
    shop.remove("note4")


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits, and fails when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def writing(shop: Workshop) -> bool:
    """Whether a window is between its intent and its completion."""
    return _documents(shop, "writing") > 0


def committed(shop: Workshop) -> int:
    """How many documents are done, as the ledger says."""
    return _documents(shop, "done")


def _documents(shop: Workshop, status: str) -> int:
    path = shop.folder / "state.db"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.suppress(sqlite3.OperationalError):
        return int(db.execute("SELECT count(*) FROM document WHERE status = ?", (status,)).fetchone()[0])
    return 0
