"""Writes the command line's log lines on stderr, one form for ours and everybody else's: for people, or one JSON object a line.

Every line says for which job and run it was written; secrets are taken out of what is about to be written, so also out of tracebacks. Only
the command line calls `configure`: a program that uses the package has a logging of its own, which nothing here touches. Libraries that put
handlers of their own on their loggers while they are imported are kept from it, so that nothing is written twice or past the form.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, TextIO

from connector.observe.masking import masked

Form = Literal["human", "json"]

GUESTS = (
    *("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer", "milvus_lite"),
    *("transformers", "huggingface_hub", "datasets", "sentence_transformers", "timm"),
)
"""Loggers of libraries that handle their own records unless they are kept from it."""

BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")
"""Environment variables that keep libraries from drawing on stderr."""

_WHOSE: ContextVar[tuple[str, str]] = ContextVar("_WHOSE", default=("", ""))


@contextlib.contextmanager
def working_for(job: str, run: str) -> Iterator[None]:
    """Lets what is logged in the block, and in threads that begin there, say so."""
    token = _WHOSE.set((job, run))
    try:
        yield
    finally:
        _WHOSE.reset(token)


def configure(level: int, form: Form, *, bars: bool) -> Callable[[], None]:
    """Sets up the logging of a command.

    Args:
        level: Least level of our lines; those of libraries are shown from `WARNING` on, or from `INFO` if ours are from `DEBUG` on.
        form: How a line looks.
        bars: Whether libraries may draw progress bars on stderr.

    Returns:
        A function that undoes it.
    """
    with contextlib.ExitStack() as undo:
        root, handler = logging.getLogger(), _Stderr()
        foreign = logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING)
        handler.addFilter(_Whose(foreign))
        handler.setFormatter(_Json() if form == "json" else _Human())
        undo.callback(root.setLevel, root.level)
        root.setLevel(min(level, foreign))
        root.addHandler(handler)
        undo.callback(root.removeHandler, handler)
        for name in GUESTS:
            _welcome(logging.getLogger(name), undo)
        for name in () if bars else BARS:
            undo.callback(_put, name, os.environ.get(name))
            os.environ[name] = "1"
        return undo.pop_all().close


def as_lines() -> bool:
    """Whether stderr is read by a program, which wants JSON and nothing that moves."""
    return any(isinstance(one.formatter, _Json) for one in logging.getLogger().handlers)


def line(text: str, level: int = logging.INFO) -> str:
    """What is said to the person at the terminal, in the form of the log; for what is no log record, such as a progress line."""
    if not as_lines():
        return text
    record = logging.LogRecord("connector", level, "", 0, text, None, None)
    _Whose(logging.INFO).filter(record)
    return _Json().format(record)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at that moment: a progress bar puts itself in its place for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # an attribute there
        """Now."""
        return sys.stderr


class _Whose(logging.Filter):
    """Notes on a record for whom it was written; passes over what libraries say below a level."""

    def __init__(self, foreign: int) -> None:
        super().__init__()
        self._foreign = foreign

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is shown."""
        record.job, record.run = _WHOSE.get()
        ours = record.name.partition(".")[0] == "connector"
        return ours or record.levelno >= self._foreign


class _Human(logging.Formatter):
    """WARNING connector.retry [job run]: message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback behind it where there is one."""
        whose = " ".join(filter(None, (getattr(record, "job", ""), getattr(record, "run", ""))))
        self._style._fmt = f"%(levelname)s %(name)s{' [%(job)s %(run)s]' if whose else ''}: %(message)s"  # noqa: SLF001 - two forms of one style
        return masked(super().format(record))


class _Json(logging.Formatter):
    """One object a line."""

    converter = time.gmtime  # type: ignore[assignment]  # it takes what theirs takes

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        said |= {name: value for name in ("job", "run") if (value := getattr(record, name, ""))}
        if record.exc_info:
            said["exception"] = masked(self.formatException(record.exc_info))
        return json.dumps(said, ensure_ascii=False, default=str)


class _Guest(logging.Logger):
    """A library's logger, which hands its records on and handles none itself."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802 - its name there
        """Takes none."""

    @property
    def propagate(self) -> bool:
        """Always."""
        return True

    @propagate.setter
    def propagate(self, value: bool) -> None:
        """Stays as it is."""


def _welcome(logger: logging.Logger, undo: contextlib.ExitStack) -> None:
    handlers, kind = logger.handlers[:], type(logger)
    logger.handlers.clear()
    logger.__class__ = _Guest
    undo.callback(logger.handlers.extend, handlers)
    undo.callback(setattr, logger, "__class__", kind)


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
