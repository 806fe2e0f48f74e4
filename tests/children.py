"""The `connector` command in processes of its own that begin at once: forked off one that has already imported what a run imports.

A process that starts from nothing spends two seconds of a core on imports before it comes to its job. These have a pid, an exit code,
output and signals of their own like any other. Tests of how the command itself starts, or of its ends of pipes, use `subprocess`.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

ROOT: Final = Path(__file__).parent.parent
_NUMBERS: Final = itertools.count()
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "connector.cli",
        "connector.commands.running",
        "connector.sources.files",
        "milvus_lite.adapter.grpc.server",
        "pyarrow.dataset",
        "pymilvus",
    ]
)


class Child:
    """A command that runs in the background; it has what tests use of `subprocess.Popen`.

    Args:
        words: Of the command line, after `connector`.
        folder: Its working folder; what it says is kept in files beside that.
        environment: All of its environment.
    """

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        number = next(_NUMBERS)
        self.args = ["connector", *words]
        self._said = [folder.parent / f"{folder.name}.{number}.{name}" for name in ("out", "err")]
        given = (self.args, str(folder), dict(environment), *map(str, self._said))
        _make_ready()
        self._process = _FORKS.Process(target=_command, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | Any:
        """Its exit code, minus the signal that killed it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | Any:
        """The same."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal; nothing if it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends it SIGKILL; nothing if it has ended."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for its end; what it said on stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: It has not ended in that time.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in self._said)
        return out, err


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """A command from its beginning to its end, as by `subprocess.run`."""
    child = Child(words, folder, environment)
    try:
        out, err = child.communicate(timeout)
    finally:
        child.kill()
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


@functools.cache
def _make_ready() -> None:
    """Starts the process that they are forked off, and waits for its imports, so that the first child begins as soon as any other."""
    nothing = _FORKS.Process(target=int, daemon=True)
    with patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        nothing.start()
    nothing.join()


def _command(words: Sequence[str], folder: str, environment: Mapping[str, str], out: str, err: str) -> None:
    """What the child does."""
    import sys

    from connector.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = list(words)
    main()
