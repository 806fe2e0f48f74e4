"""A working folder with a job of plain files in it, as the tests of commands use it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from connector.cli import app

SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField

class Notes(Collection):
    """Passages of notes."""
    id: str = Field(primary_key=True, generated=True)
    path: str = Field(max_length=60)
    text: str = Field(max_length=4000)
    vector: Vector = VectorField(dim=8, encoder="fake:fake")
'''
JOB = """
version: 1
job: notes
source: {kind: files, root: notes}
into: schema.py:Notes
milvus: {uri: notes.db}
"""


class Folder:
    """A working folder with a job in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("schema.py", SCHEMA)
        self.put("job.yaml", JOB)
        (root / "notes").mkdir()

    def put(self, name: str, content: str | bytes) -> None:
        """Writes a file; an old time, so that the listing trusts it."""
        path = self.root / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (1_000_000_000, 1_000_000_000 + len(content)))

    def call(self, *words: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of a command."""
        done = CliRunner().invoke(app, list(words))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    def run(self, *options: str) -> tuple[int, dict[str, Any], str]:
        """(exit code, the JSON document, stderr) of `run`."""
        code, out, err = self.call("run", "job.yaml", "--json", *options)
        return code, json.loads(out), err
