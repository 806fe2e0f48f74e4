"""Runs a real Milvus server for tests, and does to it what the world does: kills it, freezes it, limits it, starts it again.

Each server has its own folder, ports and process group, so any number run beside each other, and it dies with the process that
started it, however that ends. It is ended with SIGKILL only: this version hangs for over a minute when asked politely. Its ports but
etcd's are open on every network interface (the version has no setting for that), so switch authorization on where that matters.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from connector.errors import ConnectorError, SinkError
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.testing.server_files import HOST, configure, free_ports, merged, unpack

ROOT_TOKEN = "root:Milvus"  # noqa: S105 - what every new server has, and only tests use
_STARTS = 3
_TAIL_LINES = 25
_RUN_FOLDERS = ("/run/milvus", "/tmp/milvus")  # noqa: S108 - the program's own
_SHIM = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the parent
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class MilvusServer:
    """A Milvus 2.3.5 on this machine; a context manager that starts it and takes everything away afterwards.

    Args:
        folder: Its own; made at the start, deleted by `stop`.
        authorization: Whether calls need credentials; those of `token` then.
        changes: Laid over its `milvus.yaml`, such as `{"quotaAndLimits": {...}}`.
        reach: Keys of the `milvus:` block without which it cannot be reached, such as those of TLS where `changes` switch it on.
        program: As `unpack` returns it; default: unpacks it.

    Start it from a thread that lives as long as the server should: the kernel ends it with that thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        authorization: bool = False,
        changes: Mapping[str, Any] | None = None,
        reach: Mapping[str, Any] | None = None,
        program: Path | None = None,
    ) -> None:
        self.folder = folder
        self.token = ROOT_TOKEN if authorization else ""
        self._secured = {"common": {"security": {"authorizationEnabled": authorization}}}
        self._changes = dict(changes or {})
        self._reach = dict(reach or {})
        self._program = program or unpack()
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it listens; the same after a restart."""
        return f"http://{HOST}:{self._ports['proxy']}"

    @property
    def pid(self) -> int:
        """Of the running process, which leads its own group."""
        return self._running().pid

    def settings(self, **options: Any) -> MilvusSettings:
        """How to reach it; `options` are keys of the `milvus:` block."""
        token = {"token": self.token} if self.token else {}
        return MilvusSettings.model_validate({"uri": self.uri, **token, **self._reach, **options})

    def start(self, seconds: float = 90.0) -> Self:
        """Starts it and waits until it answers; takes 4 to 10 seconds.

        Raises:
            SinkError: It did not answer in that time; the message ends with its log.
        """
        for attempt in range(_STARTS):
            self._ports = free_ports()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.configure(self._changes)
            self._launch()
            try:
                self.wait_ready(seconds)
            except SinkError:
                lost_a_port = self._process is not None and self._process.poll() is not None
                self.kill()
                if not lost_a_port or attempt == _STARTS - 1:
                    raise
            else:
                break
        return self

    def restart(self, seconds: float = 90.0) -> None:
        """Kills it if it runs, starts it on the same data and ports, and waits until it answers; reads of collections may take longer.

        Raises:
            SinkError: As `start`.
        """
        self.kill()
        self._launch()
        self.wait_ready(seconds)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Writes its `milvus.yaml` anew; a running server notices within some ten seconds."""
        configure(self.folder, self._program, self._ports, merged(changes, self._secured))

    def kill(self) -> None:
        """SIGKILL to its process group, and waits for its end; nothing if it does not run."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        self._forget(self._process.pid)
        self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Kills it and deletes its folder; a second call does nothing."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_ready(self, seconds: float) -> None:
        """Returns when its health page says OK and it has listed its collections.

        Raises:
            SinkError: Not in that time.
        """
        deadline = time.monotonic() + seconds
        while not (self._healthy() and self._lists()):
            if self._running().poll() is not None:
                raise SinkError(f"the Milvus server ended with {self._running().returncode}", hint=self.log_tail())
            if time.monotonic() > deadline:
                raise SinkError(f"the Milvus server was not ready after {seconds:g} s", hint=self.log_tail())
            time.sleep(0.2)

    def log_tail(self) -> str:
        """The last lines of its log."""
        lines = (self.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["its log ends with:", *(line[:400] for line in lines[-_TAIL_LINES:])])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise SinkError("the Milvus server does not run", hint="call start()")
        return self._process

    def _launch(self) -> None:
        command = [str(self._program / "milvus"), "run", "standalone", "-alias", self._alias]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._ports["metrics"]),
            "MILVUSCONF": str(self.folder / "configs"),
            "LD_LIBRARY_PATH": str(self._program),
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program with our own words
                [sys.executable, "-I", "-c", _SHIM, str(os.getpid()), *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def _alias(self) -> str:
        """Names its lock file, so that servers beside each other do not take each other's."""
        return f"connector-{self._ports['proxy']}"

    def _healthy(self) -> bool:
        page = http.client.HTTPConnection(HOST, self._ports["metrics"], timeout=2)
        try:
            page.request("GET", "/healthz")
            return b"OK" in page.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            page.close()

    def _lists(self) -> bool:
        try:
            with connect(self.settings(timeout=5, retry_deadline=0)) as connection:
                connection.call("list collections", connection.client.list_collections)
        except ConnectorError:
            return False
        return True

    def _forget(self, pid: int) -> None:
        """Deletes what the program leaves outside its folder."""
        for folder in _RUN_FOLDERS:
            for name in (f"standalone-{self._alias}.pid", f"server_id_{pid}"):
                with contextlib.suppress(OSError):
                    (Path(folder) / name).unlink()
