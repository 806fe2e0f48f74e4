"""Every error a user can meet, as one tree; each says what to do next.

The type decides what happens, so nothing downstream reads messages::

    ConnectorError                 exit 1   a bug, or something nobody foresaw
    ├── ConfigError                exit 2   the job, the schema or the machine's set-up is wrong
    │   ├── SchemaError                     a collection's declaration is wrong, or the server cannot do it
    │   ├── PlanNeeded                      code and live collection differ: run `connector plan`
    │   └── MissingExtra                    an optional package is not installed
    ├── DocumentError              (never ends a run) one document cannot be used: it is rejected and counted
    │   └── RowError                        one row cannot be used
    ├── EncodeError                exit 1   the model failed in a way that is not the input's fault
    │   └── OutOfMemory                     the same batch may pass in halves
    ├── SinkError                  exit 1   Milvus refused in a way that re-sending cannot mend
    │   ├── BadRows                         some row of this request is refused: bisect
    │   ├── RequestTooLarge                 the request, not its rows: halve it
    │   └── NotLoaded                       the collection is released: load it, then ask again
    ├── Transient                  exit 4   may pass when tried again: server down, busy, restarting
    │   ├── Throttled                       the server asked for a slower pace
    │   └── OutOfTime                       the run's time limit is over: run again to go on
    ├── TooManyRejects             exit 3   rejects over the threshold, a part of the source could not be listed, or rows differ
    ├── Locked                     exit 5   another run holds the lock
    ├── Refused                    exit 6   a safety brake: nothing was changed
    ├── AuthError                  exit 7   credentials are wrong or lack a privilege
    └── Interrupted                exit 130/143   SIGINT or SIGTERM
"""

# ruff: noqa: N818 - each class is named for what happened, as its message begins with the name

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pydantic


class ConnectorError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: What is wrong, where, and found against wanted.
        hint: The next thing to do; shown after the message.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}  hint: {self.hint}" if self.hint else self.message


class ConfigError(ConnectorError):
    """The job file, the arguments or the environment are wrong; nothing was touched."""

    exit_code = 2


class SchemaError(ConfigError):
    """A collection's declaration is wrong, or the connected server cannot hold it."""


class PlanNeeded(ConfigError):
    """The live collection is not the one the code describes."""


class MissingExtra(ConfigError):
    """An optional package is needed and not installed; the hint is the pip line."""


class DocumentError(ConnectorError):
    """One document cannot be used. It is rejected with this reason; the run goes on.

    Args:
        message: The reason, as the reject store shows it.
        hint: The next thing to do.
        retry: True if the cause lies outside the document (a permission, a file that changed while it was
            read), so that the next run tries again even when the document's version is the same.
    """

    def __init__(self, message: str, *, hint: str = "", retry: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retry = retry


class RowError(DocumentError):
    """One row cannot be used; the other rows of its document land."""


class EncodeError(ConnectorError):
    """The model failed, and not because of one input."""


class OutOfMemory(EncodeError):
    """A micro-batch did not fit; the caller halves it."""


class SinkError(ConnectorError):
    """Milvus refused a request in a way that sending it again cannot mend."""


class BadRows(SinkError):
    """At least one row of the request is refused by the server; the rest would pass."""


class RequestTooLarge(SinkError):
    """The request is over the server's message limit; its halves may pass."""


class NotLoaded(SinkError):
    """The collection is released or still loading; reads need it loaded."""


class Transient(ConnectorError):
    """May pass when tried again. At the end of the retry deadline it ends the run; the ledger is consistent.

    Args:
        message: What is wrong.
        hint: The next thing to do.
        after: Seconds that the other side asked to be left alone before the next attempt.
    """

    exit_code = 4

    def __init__(self, message: str, *, hint: str = "", after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Throttled(Transient):
    """The server limits the rate or denies writes for a while."""


class OutOfTime(Transient):
    """The run's own time limit is over; what was acknowledged is committed, the next run goes on from there."""


class TooManyRejects(ConnectorError):
    """More rejects than the job allows, or a part of the source could not be listed."""

    exit_code = 3


class Locked(ConnectorError):
    """Another run of this job is under way."""

    exit_code = 5


class Refused(ConnectorError):
    """A safety brake held; nothing was changed."""

    exit_code = 6


class AuthError(ConnectorError):
    """Wrong credentials or a missing privilege."""

    exit_code = 7


class Interrupted(ConnectorError):
    """A signal asked the run to stop.

    Args:
        signal_number: The signal; the exit code is 128 plus it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}", hint="run the same command again to go on")
        self.signal_number = signal_number


def exit_code(error: BaseException) -> int:
    """The command line's exit code for an error; what nobody raised on purpose is a bug, 1."""
    signal_number: int | None = getattr(error, "signal_number", None)
    return getattr(error, "exit_code", 1) if signal_number is None else 128 + signal_number


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that names what was probably meant.

    Returns:
        "did you mean `size`? valid: overlap, size", or only the valid names when none is near.
    """
    names = sorted(valid)
    folded = {one.casefold(): one for one in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    lead = f"did you mean `{folded[close[0]]}`? " if close else ""
    return f"{lead}valid: {', '.join(names) or 'none'}"


def explain(error: pydantic.ValidationError) -> str:
    """The first problem of a validation error in one line: where and what, never the input (it may hold a secret)."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"]) or "value"
    return f"`{place}`: {first['msg']}"
