"""The ledger's file as a thing of its own: looked at, saved, brought back, emptied. Needs neither Milvus nor a model.

A file that is brought back may be older than the collection, so it is not believed: the next run compares it with the collection first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from connector.errors import ConfigError
from connector.ledger import Ledger
from connector.ledger.file import open_read_only
from connector.ledger.tables import LEDGER_FORMAT, migrate, user_version

log = logging.getLogger(__name__)


def describe(path: Path) -> dict[str, Any]:
    """What a ledger file holds: format, size, scopes with their documents by status, forgotten documents by namespace; changes nothing."""
    _check_exists(path)
    with Ledger(path, lock=False, read_only=True) as ledger:
        return {"file": str(path), "bytes": path.stat().st_size, "format": _format(path), **ledger.summary()}


def export(path: Path, file: Path) -> dict[str, Any]:
    """Saves a consistent copy, also while a run is under way; `file` is replaced at once or not at all.

    Raises:
        ConfigError: There is no ledger, or the copy cannot be written.
    """
    _check_exists(path)
    unfinished = file.with_name(f"{file.name}.unfinished-{os.getpid()}")
    try:
        with Ledger(path, lock=False, read_only=True) as ledger:
            ledger.copy_to(unfinished)
            summary = ledger.summary()
        unfinished.chmod(0o600)
        unfinished.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{file}: cannot be written: {error}", hint="give a file in a folder that exists and has room") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return {"file": str(file), "bytes": file.stat().st_size, "format": LEDGER_FORMAT, **summary}


def bring_back(path: Path, file: Path) -> dict[str, Any]:
    """Puts a saved copy in the place of the ledger; what was there is saved beside it, and its marks of forgotten documents stay.

    Raises:
        ConfigError: The file is no ledger, is damaged, or is newer than this program.
        Locked: A run is under way.
    """
    ready = path.with_name(f"{path.name}.import-{os.getpid()}")
    with Ledger(path) as ledger:
        try:
            _prepare(file, ready)
            saved = _save(path, ledger)
            ledger.replace_all(ready)
        finally:
            for left in ready.parent.glob(f"{ready.name}*"):
                left.unlink()
        return {"file": str(path), "saved": str(saved) if saved else None, "format": LEDGER_FORMAT, **ledger.summary()}


def reset(path: Path, namespace: str) -> int:
    """Empties what the ledger knows of a namespace, but for the marks of forgotten documents; returns how many documents it knew.

    Raises:
        Locked: A run is under way.
    """
    _check_exists(path)
    with Ledger(path) as ledger:
        return ledger.purge(namespace)


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"{path}: no ledger yet", hint="a run makes it; if it was lost, a run rebuilds it from the collection")


def _format(path: Path) -> int:
    with contextlib.closing(open_read_only(path)) as db:
        return user_version(db)


def _prepare(file: Path, ready: Path) -> None:
    """A checked copy in the present format."""
    try:
        with contextlib.closing(open_read_only(file)) as source:
            version, [(sound,)] = user_version(source), source.execute("PRAGMA quick_check(1)").fetchall()
            tables = {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if version > LEDGER_FORMAT:
                hint = "upgrade connector"
                raise ConfigError(f"{file}: written by a newer connector (format {version}, this one knows {LEDGER_FORMAT})", hint=hint)
            if version < 1 or sound != "ok" or not {"scope", "document", "run"} <= tables:
                raise ConfigError(f"{file}: no ledger, or a damaged one", hint="give a file that connector state export wrote")
            with contextlib.closing(sqlite3.connect(ready, isolation_level=None)) as copy:
                source.backup(copy)
                migrate(copy)
                copy.execute("UPDATE scope SET doubt = 'the ledger was imported'")
        ready.chmod(0o600)
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}", hint="give a file that connector state export wrote") from None


def _save(path: Path, ledger: Ledger) -> Path | None:
    """Keeps what is about to be replaced."""
    if not ledger.summary()["scopes"]:
        return None
    saved = path.with_name(f"{path.name}.before-import-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}")
    ledger.copy_to(saved)
    saved.chmod(0o600)
    return saved
