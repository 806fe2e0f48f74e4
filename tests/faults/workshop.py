"""A job over a folder of notes, run as a child process that can be killed, and an oracle that recomputes what must be in the collection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from connector.loading import load_collection
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.testing.encoders import fake_vector

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
milvus: {{uri: "{uri}"}}
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


COMMAND = [sys.executable, "-c", "from connector.cli import main; main()", "run", "job.yaml", "--json"]


@dataclass
class Workshop:
    """The job's folder.

    Attributes:
        folder: Where everything lies.
        uri: Of Milvus.
        workers: Of the job.
    """

    folder: Path
    uri: str = "notes.db"
    workers: int = 2

    def __post_init__(self) -> None:
        (self.folder / "notes").mkdir()
        (self.folder / "notes_schema.py").write_text(SCHEMA)
        (self.folder / "notes_lines.py").write_text(LINES)
        (self.folder / "job.yaml").write_text(JOB.format(uri=self.uri, workers=self.workers))

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
        environment = {**os.environ, "CONNECTOR_FAILPOINT": failpoint} if failpoint else dict(os.environ)
        return subprocess.run(
            [*COMMAND, *options], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def expect_ok(self, *options: str) -> dict[str, Any]:
        """Runs, expects success, returns the report."""
        done = self.run("", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def expected(self) -> dict[tuple[str, int], str]:
        """What the collection must hold: (path, ordinal) to text."""
        return {
            (path.name, ordinal): line
            for path in sorted((self.folder / "notes").glob("*.txt"))
            for ordinal, line in enumerate(path.read_text().splitlines())
        }

    def compare(self) -> dict[str, int]:
        """The oracle: how many rows are missing, doubled, stale or foreign; all must be 0."""
        os.environ["PWD"] = str(self.folder)
        uri = self.uri if "://" in self.uri else str(self.folder / self.uri)
        with connect(MilvusSettings(uri=uri)) as connection:
            sink = MilvusSink(connection, "notes__g1", load_collection(str(self.folder / "notes_schema.py") + ":Notes"))
            rows = list(sink.scan(None, ["id", "path", "ordinal", "text", "vector"]))
            counted = sink.count()
        expected = self.expected()
        found = {(row["path"], row["ordinal"]): row for row in rows}
        wrong = sum(
            found[key]["text"] != text or not np.array_equal(found[key]["vector"], fake_vector(text))
            for key, text in expected.items()
            if key in found
        )
        return {
            "missing": len(expected.keys() - found.keys()),
            "doubled": counted - len(found),
            "stale": wrong,
            "foreign": len(found.keys() - expected.keys()),
        }

    def converged(self, injected: str) -> bool:
        """Whether the oracle finds nothing wrong; noted in the table."""
        found = self.compare()
        TABLE.append((injected, found))
        return found == NOTHING_WRONG

    def start(self, failpoint: str = "") -> subprocess.Popen[str]:
        """A run that goes on in the background."""
        environment = {**os.environ, "CONNECTOR_FAILPOINT": failpoint} if failpoint else dict(os.environ)
        return subprocess.Popen(COMMAND, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


TABLE: list[tuple[str, dict[str, int]]] = []
NOTHING_WRONG = {"missing": 0, "doubled": 0, "stale": 0, "foreign": 0}
