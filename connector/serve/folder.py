"""Reads the job files of a folder, and reads again those that changed.

A file that changed is taken when it has been the same in two looks, so that one that is being written is not taken for broken, or worse,
for whole. One that cannot be used is kept with the reason, and tried again at every look: what it lacks may lie outside of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from connector.errors import ConfigError, ConnectorError
from connector.job import Job
from connector.observe.masking import hide

_ENDINGS = {".yaml", ".yml"}

State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """One job file.

    Attributes:
        path: The file.
        job: What it says; None if that cannot be used.
        problem: Why not.
    """

    path: Path
    job: Job | None
    problem: str = ""


class Folder:
    """Job files, in folders or named one by one.

    Raises:
        ConfigError: One of the paths does not exist, or no path is given.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        missing = [path for path in paths if not path.exists()]
        if missing or not paths:
            raise ConfigError(f"{missing[0] if missing else 'no path'}: no such file or folder", hint="give a folder of job files")
        self._paths = list(paths)
        self._looked: dict[Path, State] = {}
        self._taken: dict[Path, tuple[State, Found]] = {}

    def look(self, *, first: bool = False) -> list[Found]:
        """Every job file as it was last taken, by path; with `first` all are taken at once."""
        now = {path: state for path in _files(self._paths) if (state := _state(path)) is not None}
        for path in self._taken.keys() - now.keys():
            del self._taken[path]
        for path, state in now.items():
            before, found = self._taken.get(path, (None, None))
            steady = first or self._looked.get(path) == state
            if steady and (before != state or (found is not None and found.job is None)):
                self._taken[path] = state, _read(path)
        self._looked = now
        return [self._taken[path][1] for path in sorted(self._taken)]


def fresh(found: Found) -> Job:
    """The job as its file says it now, so that exchanged secrets are noticed; as it was taken, if the file is another by now.

    Raises:
        ConfigError: The file is broken, and was not when it was taken.
    """
    job = Job.from_yaml(found.path)
    hide(job.secrets)
    return job if found.job is None or job.job == found.job.job else found.job


def _read(path: Path) -> Found:
    try:
        job = Job.from_yaml(path)
        hide(job.secrets)
        return Found(path, job)
    except ConnectorError as error:
        return Found(path, None, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other files are to be read
        return Found(path, None, f"{path}: {type(error).__name__}: {error}")


def _files(paths: Iterable[Path]) -> list[Path]:
    found: set[Path] = set()
    for path in paths:
        try:
            inside = path.iterdir() if path.is_dir() else [path]
            found |= {one for one in inside if one == path or (one.suffix in _ENDINGS and not one.name.startswith("."))}
        except OSError:
            continue
    return sorted(found)


def _state(path: Path) -> State | None:
    """What changes with a file's content; of what a link leads to, since mounted configuration is exchanged that way."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
