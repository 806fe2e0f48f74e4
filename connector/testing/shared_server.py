"""One Milvus server for many test processes: the first that wants it starts it, the last that leaves takes it away.

`python -m connector.testing.shared_server FOLDER PROGRAM` keeps the server. Who uses it holds a shared lock on a file, which the
kernel lets go when a process ends in whatever way; when the keeper gets that lock for itself, nobody is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from connector.errors import SinkError
from connector.milvus.settings import MilvusSettings
from connector.testing.server import MilvusServer
from connector.testing.server_files import unpack

_START_SECONDS: Final = 240.0
_LOOK_EVERY = 0.5


@contextlib.contextmanager
def shared_server(folder: Path, *, program: Path | None = None) -> Iterator[MilvusSettings]:
    """A server with authorization on, shared by all processes that name the same folder.

    Args:
        folder: On a local disk; the server's data lies below it.
        program: As `unpack` returned it; default: unpacks it.

    Yields:
        How to reach it as root. Keep to a database of your own.

    Raises:
        SinkError: It did not start; the message ends with the keeper's words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a", encoding="utf-8") as users:
        with FileLock(folder / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _kept(folder):
                _start_keeper(folder, program or unpack())
        yield MilvusSettings.model_validate_json((folder / "address.json").read_text(encoding="utf-8"))


def keep(folder: Path, program: Path) -> None:
    """Starts the server, writes down its address, and ends it when nobody uses it any more."""
    own = folder / f"server-{os.getpid()}"
    with (folder / "keeper").open("a", encoding="utf-8") as keeper, MilvusServer(own, authorization=True, program=program) as server:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        address: dict[str, Any] = {"uri": server.uri, "token": server.token}
        draft = folder / "address.draft"
        draft.write_text(json.dumps(address), encoding="utf-8")
        draft.replace(folder / "address.json")
        with (folder / "users").open("a", encoding="utf-8") as users:
            while not _alone(users):
                time.sleep(_LOOK_EVERY)
            (folder / "address.json").unlink()


def _kept(folder: Path) -> bool:
    if not (folder / "address.json").exists():
        return False
    with (folder / "keeper").open("a", encoding="utf-8") as keeper:
        return not _alone(keeper)


def _alone(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_keeper(folder: Path, program: Path) -> None:
    (folder / "address.json").unlink(missing_ok=True)
    with (folder / "keeper.log").open("wb") as log:
        command = [sys.executable, "-m", "connector.testing.shared_server", str(folder), str(program)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - ours
    deadline = time.monotonic() + _START_SECONDS
    while not (folder / "address.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SinkError("the shared Milvus server did not start", hint=(folder / "keeper.log").read_text(encoding="utf-8"))
        time.sleep(0.1)
    process.returncode = 0  # it outlives this process on purpose, so nobody waits for it


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
