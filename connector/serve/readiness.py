"""Asks now and then whether the Milvus of each job answers, in a thread of its own, so that nobody who asks about readiness has to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from connector.errors import ConnectorError
from connector.job import Job
from connector.milvus.client import connect, preload
from connector.milvus.settings import MilvusSettings


def prepare() -> None:
    """Loads the client, which must not happen for the first time while threads read the environment; see `client.preload`."""
    preload()


class Readiness:
    """What the last look at every Milvus said.

    Args:
        jobs: Gives the jobs of this moment.
        every: Seconds between two looks.
    """

    def __init__(self, jobs: Callable[[], Sequence[Job]], every: float = 15.0) -> None:
        self._jobs, self._every = jobs, every
        self._end = threading.Event()
        self.problems: list[str] | None = None
        """What does not answer; None: nobody has looked yet."""

    def start(self) -> None:
        """Begins to look."""
        threading.Thread(target=self._work, name="readiness", daemon=True).start()

    def end(self) -> None:
        """Looks no more."""
        self._end.set()

    def _work(self) -> None:
        while not self._end.is_set():
            places = {(one.milvus.uri, one.milvus.database): one.milvus for one in self._jobs()}
            self.problems = [problem for settings in places.values() if (problem := _problem(settings))]
            self._end.wait(self._every)


def _problem(settings: MilvusSettings) -> str:
    """Why this Milvus cannot be used now; "" if it can. A Lite file is not opened for that."""
    if settings.lite:
        folder = Path(settings.path).parent
        return "" if folder.is_dir() else f"Milvus at {settings.uri}: the folder {folder} does not exist"
    try:
        connect(settings).close()
    except ConnectorError as error:
        return error.message
    except Exception as error:  # noqa: BLE001 - the next look may find it better
        return f"Milvus at {settings.uri}: {type(error).__name__}"
    return ""
