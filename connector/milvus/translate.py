"""Turns any exception of pymilvus, grpc or Milvus Lite into ours: one pure function, so that what is retried is a table.

Two families reach a caller, `MilvusException` and bare `grpc.RpcError`, and the true reason often hides in the context: a wrong
password and a server that is down are both "code 2, fail connecting". So the whole chain is looked at (with a memory: pymilvus
makes errors that are their own cause). Only codes and the server's own short text reach a message; URIs, tokens and tracebacks
do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from connector.errors import (
    AuthError,
    BadRows,
    ConfigError,
    ConnectorError,
    Interrupted,
    Locked,
    NotLoaded,
    PlanNeeded,
    RequestTooLarge,
    SinkError,
    Throttled,
    Transient,
)

_BAD_ROW_CLASSES = {"DataNotMatchException", "ParamError", "TypeError"}
_BUSY = re.compile(
    r"find no available|empty grpc client|connection refused|not ready|retry (timeout|run out)|context (deadline|done|canceled)"
    r"|unrecoverable error|recovering|loading collection timeout"
    r"|code = (unavailable|canceled|aborted|deadlineexceeded)\b|connection is closing",  # its roles, of each other
    re.IGNORECASE,
)
_LOADING = re.compile(
    r"not loaded|is in state '(released|loading)'|not fully loaded"
    r"|search/query delegator(?!.*(dimension|metric|expr|param|anns field))",  # 2.3.5, of a release in this moment; not of a wrong question
    re.IGNORECASE,
)
_DISK = re.compile(r"Errno (27|28)\]")  # of Milvus Lite: EFBIG, ENOSPC
_USERINFO = re.compile(r"://[^/\s@]+@")
_SECRET = re.compile(r"(?i)\b(token|password|authorization|api[_-]?key)(\s*[=:]\s*)\S+")
_MAX_TEXT = 300
_VAGUE = {1, 2, 65535}
_IO_FAILED = 1001

_Verdict: TypeAlias = tuple[type[ConnectorError], str, str]
_Row: TypeAlias = tuple[str, str, type[ConnectorError], str, str]

_RPC: tuple[_Row, ...] = (
    ("UNAUTHENTICATED", "", AuthError, "wrong user, password or token", "check `token`, or `user` and `password`"),
    ("PERMISSION_DENIED", "", AuthError, "the user lacks a privilege: {text}", "grant it, or use another user"),
    ("RESOURCE_EXHAUSTED", "larger than max", RequestTooLarge, "{text}", ""),
    ("RESOURCE_EXHAUSTED", "", Throttled, "{text}", ""),
    ("UNKNOWN", "service unavailable|not ready", Transient, "the server is starting or stopping: {text}", ""),
    ("UNIMPLEMENTED", "", ConfigError, "the server does not know this request: {text}", "is this the grpc port? Else upgrade the server"),
    *((status, "", Transient, f"no answer in time ({status})", "") for status in ("DEADLINE_EXCEEDED", "CANCELLED", "ABORTED")),
)
"""Status, pattern in its text, what it means."""

_RUNNING = "is the server running, and are host and port right?"
_UNAVAILABLE: tuple[_Row, ...] = tuple(
    ("UNAVAILABLE", *rest)
    for rest in (
        ("WRONG_VERSION_NUMBER", ConfigError, "TLS was tried, but this port does not speak it", "write http://, without `secure`"),
        ("CERTIFICATE_VERIFY_FAILED", ConfigError, "the server's certificate is not trusted", "set `server_pem_path` to it"),
        ("Hostname Verification", ConfigError, "the server's certificate is for another name", "set `server_name` to a name in it"),
        ("create security handshaker", ConfigError, "the certificates cannot be used", "are all of them PEM, and is the key theirs?"),
        ("Unwrap failed", ConfigError, "the server wants a client certificate that it trusts", "set `client_pem_path` and its key"),
        ("(Tls|Ssl) handshake failed", ConfigError, "the TLS handshake failed", "check `server_name` and the certificates"),
        ("Failed parsing HTTP/2|http1.x server", ConfigError, "this is an HTTP port, not grpc", "use the grpc port, 19530, not 9091"),
        ("Socket closed|onnection reset", Transient, "the server closed the connection", "is it still starting?"),
        ("(?i)resolv|resolution|name not found", Transient, "the host name is not known", "correct the host in `uri`"),
        ("refused", Transient, "not reachable: nobody listens on that host and port", _RUNNING),
        ("", Transient, "not reachable: {text}", _RUNNING),
    )
)
"""Not reachable, or reachable in the wrong language."""

_BY_CODE: dict[int, tuple[type[ConnectorError], str]] = {
    1: (SinkError, ""),
    2: (Transient, _RUNNING),
    3: (Throttled, "the server is out of memory: give it more, or release collections"),
    4: (Transient, ""),
    6: (BadRows, ""),
    7: (Throttled, "the server's disk is full"),
    8: (Throttled, "the server limits the rate: see quotaAndLimits in milvus.yaml"),
    9: (Throttled, "the server denies writes: a quota is used up, or an administrator stopped them"),
    11: (Throttled, ""),
    12: (Transient, ""),
    100: (PlanNeeded, "run `connector plan`"),
    101: (NotLoaded, ""),
    103: (Transient, ""),
    106: (Transient, ""),
    109: (PlanNeeded, "run `connector plan`"),
    202: (Transient, ""),
    305: (Transient, ""),
    700: (PlanNeeded, "an index is missing: run `connector apply`"),
    800: (ConfigError, "create the database, or correct `database`"),
    1001: (SinkError, ""),
    1002: (Transient, ""),
    1003: (Transient, ""),
    1100: (BadRows, ""),
    1400: (AuthError, "check token, or user and password"),
    1401: (AuthError, "grant the missing privilege"),
    1600: (PlanNeeded, "run `connector plan`"),
    65535: (BadRows, ""),
}
"""What a code of Milvus means where its text says nothing more; see `_from_code` for the texts."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What one exception of a chain tells.

    Attributes:
        kind: Name of its class.
        rpc: Name of the grpc status, or "".
        code: Milvus's code, or None.
        text: The server's words, shortened and without secrets.
    """

    kind: str
    rpc: str
    code: int | None
    text: str


def signals(error: BaseException) -> Iterator[Signal]:
    """What an exception and everything behind it tell, outermost first."""
    return map(_signal, _behind(error))


def _behind(error: BaseException, *, ours: bool = False) -> Iterator[BaseException]:
    """An exception and everything behind it; ends even where a cause is its own cause. `ours`: our own errors too."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop(0)
        if one is None or id(one) in seen or (isinstance(one, ConnectorError) and not ours):
            continue  # our own error in a context is an older story
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__]


def translate(error: BaseException, what: str = "") -> ConnectorError:
    """Our error for a foreign one.

    Args:
        error: Raised by pymilvus, grpc or Milvus Lite.
        what: The call that failed, and on what, as messages begin.

    Returns:
        An error whose type says what to do next; its message holds `what`, codes and the server's sanitised text.
    """
    if isinstance(error, ConnectorError):
        return error
    for one in _behind(error, ours=True):
        if isinstance(one, Interrupted):  # a signal came while pymilvus was at work, which takes it for an error of its own
            return one
    chain = list(signals(error))
    found = _from_class(chain) or (_from_code(chain) if _precise(chain[0]) else None) or _from_rpc(chain) or _from_code(chain)
    kind, reason, hint = found or (SinkError, f"{chain[0].kind}: {chain[0].text}", "")
    return kind(f"{what}: {reason}" if what else reason, hint=hint)


def _precise(one: Signal) -> bool:
    """Whether the code says enough: 1, 2 and 65535 stand for whatever happened below."""
    return one.code is not None and one.code not in _VAGUE


def _signal(error: BaseException) -> Signal:
    code = getattr(error, "code", None)
    if callable(code):  # a grpc error: methods instead of attributes
        details = getattr(error, "details", None)
        return Signal(type(error).__name__, _name(code()), None, sanitise(str(details() if callable(details) else "")))
    text = sanitise(str(getattr(error, "message", "") or error))
    if isinstance(code, Enum) and not isinstance(code, int):  # pymilvus puts a grpc status there when its own retries end
        return Signal(type(error).__name__, _name(code), None, text)
    return Signal(type(error).__name__, "", int(code) if isinstance(code, int) else None, text)


def _name(status: object) -> str:
    return str(getattr(status, "name", "") or "")


def sanitise(text: str) -> str:
    """The text in one line of at most 300 characters, without credentials."""
    flat = " ".join(text.split())
    flat = _SECRET.sub(r"\1\2***", _USERINFO.sub("://***@", flat))
    return flat if len(flat) <= _MAX_TEXT else flat[: _MAX_TEXT - 3] + "..."


def _from_rpc(chain: list[Signal]) -> _Verdict | None:
    """By the grpc status, which is the truth even where a vague Milvus code stands before it."""
    one = next((one for one in chain if one.rpc), None)
    if one is None:
        return None
    table = _UNAVAILABLE if one.rpc == "UNAVAILABLE" else _RPC
    for status, pattern, kind, reason, hint in table:
        if one.rpc == status and re.search(pattern, one.text):
            return kind, reason.format(text=one.text.partition(";")[0]), hint
    return SinkError, f"{one.rpc}: {one.text}", ""


def _from_class(chain: list[Signal]) -> _Verdict | None:
    """By the class, where pymilvus or Milvus Lite made the error themselves."""
    kinds = {one.kind for one in chain}
    first = chain[0]
    if "DataDirLockedError" in kinds:
        hint = "end the other process, or run a Milvus server: Milvus Lite is for one process"
        return Locked, "another process has this Milvus Lite file open", hint
    if kinds & {"ManifestCorruptedError", "WALCorruptedError"}:
        return SinkError, f"the Milvus Lite file is damaged: {first.text}", "restore it from a backup, or delete it and run again"
    if "ConnectionConfigException" in kinds:
        return ConfigError, first.text, "correct `milvus.uri`"
    if first.kind == "SchemaMismatchRetryableException":
        return PlanNeeded, "the collection was altered during this run", "run `connector plan`"
    if first.kind in _BAD_ROW_CLASSES:
        return BadRows, first.text, ""
    return None


def _from_code(chain: list[Signal]) -> _Verdict | None:
    """By Milvus's code; the codes 1, 1001 and 65535 mean many things, so their texts decide first."""
    one = next((one for one in chain if one.code is not None), None)
    if one is None or one.code is None:
        return None
    if one.code in _VAGUE and _LOADING.search(one.text):
        return NotLoaded, one.text, ""
    if one.code in _VAGUE and _BUSY.search(one.text):
        return Transient, one.text, ""
    if one.code in _VAGUE and _DISK.search(one.text):
        return ConfigError, f"the disk is full: {one.text}", "make room, then run the same command again"
    if one.code == _IO_FAILED and "json: cannot unmarshal" in one.text:
        return BadRows, one.text, ""
    kind, hint = _BY_CODE.get(one.code, (SinkError, ""))
    return kind, f"{one.text} (code {one.code})", hint
