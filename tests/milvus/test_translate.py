"""Which error of Milvus means what; the tables that decide about retries."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from pymilvus import exceptions as foreign

from connector import errors
from connector.milvus.translate import sanitise, signals, translate

S = grpc.StatusCode


class Rpc(grpc.RpcError):  # type: ignore[misc]  # grpc ships no types
    """A grpc error as a channel raises it."""

    def __init__(self, status: grpc.StatusCode, details: str = "") -> None:
        super().__init__()
        self._status, self._details = status, details

    def code(self) -> grpc.StatusCode:
        """The status."""
        return self._status

    def details(self) -> str:
        """The server's words."""
        return self._details


def milvus(code: Any, text: str = "", kind: Any = foreign.MilvusException, context: BaseException | None = None) -> Exception:
    """An error of pymilvus, its own cause as pymilvus makes them, with something behind it."""
    error: Exception = kind(code, text)
    error.__cause__ = error
    error.__context__ = context
    return error


LARGE = "grpc: received message larger than max (67141569 vs. 67108864)"
CONNECT = "Fail connecting to server on localhost:19530, illegal connection params or server unavailable"
BUSY = (
    "find no available rootcoord",
    "empty grpc client",
    "connection refused",
    "not ready",
    "Retry timeout",
    "context deadline exceeded",
    "unrecoverable error",
    "attempt #5: rpc error: code = Canceled desc = grpc: the client connection is closing",
    "rpc error: code = Unavailable desc = error reading from server: EOF",
)

CASES: list[tuple[Exception, type[errors.ConnectorError], str]] = [
    # raw grpc
    (Rpc(S.UNAVAILABLE, "last error: Connection refused"), errors.Transient, "nobody listens"),
    (Rpc(S.UNAVAILABLE, "errors resolving nohost:19530: Domain name not found"), errors.Transient, "host name is not known"),
    (Rpc(S.UNAVAILABLE, "last error: Socket closed"), errors.Transient, "still starting"),
    (Rpc(S.UNAVAILABLE, "something else"), errors.Transient, "something else"),
    (Rpc(S.UNKNOWN, "service unavailable: internal: Milvus Proxy is not ready yet. please wait"), errors.Transient, "starting or stopping"),
    (Rpc(S.DEADLINE_EXCEEDED), errors.Transient, "no answer in time"),
    (Rpc(S.CANCELLED), errors.Transient, "no answer"),
    (Rpc(S.ABORTED), errors.Transient, "no answer"),
    (Rpc(S.RESOURCE_EXHAUSTED, LARGE), errors.RequestTooLarge, "larger than max"),
    (Rpc(S.RESOURCE_EXHAUSTED, "too many pings"), errors.Throttled, "pings"),
    (Rpc(S.UNAUTHENTICATED, "auth check failure"), errors.AuthError, "wrong user, password or token"),
    (Rpc(S.PERMISSION_DENIED, "PrivilegeUpsert: permission deny to bob"), errors.AuthError, "PrivilegeUpsert"),
    (Rpc(S.UNIMPLEMENTED, "unknown method"), errors.ConfigError, "does not know this request"),
    (Rpc(S.INTERNAL, "Marshal called with nil"), errors.SinkError, "Marshal"),
    # connecting: always code 2, the truth is behind it
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Connection refused")), errors.Transient, "nobody listens"),
    (milvus(2, CONNECT, context=Rpc(S.UNAUTHENTICATED, "auth check failure")), errors.AuthError, "wrong user, password or token"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Tls handshake failed: WRONG_VERSION_NUMBER")), errors.ConfigError, "http://"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Tls handshake: CERTIFICATE_VERIFY_FAILED")), errors.ConfigError, "server_pem_path"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Ssl handshake failed: other")), errors.ConfigError, "handshake"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Hostname Verification Check failed.")), errors.ConfigError, "server_name"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Failed to create security handshaker.")), errors.ConfigError, "PEM"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Unwrap failed (TSI_DATA_CORRUPTED)")), errors.ConfigError, "client_pem_path"),
    (milvus(2, CONNECT, context=Rpc(S.UNAVAILABLE, "Failed parsing HTTP/2 (Expected SETTINGS frame)")), errors.ConfigError, "19530"),
    (milvus(1, "Received UNIMPLEMENTED from server.", context=Rpc(S.UNIMPLEMENTED, "404")), errors.ConfigError, "grpc port"),
    (milvus(2, CONNECT), errors.Transient, "Fail connecting"),
    # pymilvus's own retries ended
    (milvus(S.UNAVAILABLE, "[upsert] Retry timeout: 30s, connection refused"), errors.Transient, "not reachable"),
    (milvus(8, "[upsert] Retry timeout: 30s, message=rate limit exceeded"), errors.Throttled, "rate limit"),
    # codes of the server
    *((milvus(code, "later"), errors.Transient, "later") for code in (4, 12, 103, 106, 202, 305, 1002, 1003)),
    (milvus(1, "service not ready"), errors.Transient, "not ready"),
    *((milvus(code, "slow down"), errors.Throttled, "slow down") for code in (3, 7, 8, 9, 11)),
    *((milvus(65535, text), errors.Transient, text) for text in BUSY),
    (milvus(1, "wait for loading collection timeout, collection: c"), errors.Transient, "loading"),
    (milvus(101, "collection not loaded[collection=1]"), errors.NotLoaded, "not loaded"),
    (milvus(101, "Collection 'c' is in state 'released'"), errors.NotLoaded, "released"),
    (milvus(1, "[Errno 28] No space left on device"), errors.ConfigError, "the disk is full"),
    (milvus(65535, "collection not loaded"), errors.NotLoaded, "not loaded"),
    (milvus(65535, "failed to search/query delegator 1 for channel by-dev-1: channel not available"), errors.NotLoaded, "delegator 1"),
    (milvus(65535, "failed to search/query delegator 1 for channel by-dev-1: vector dimension mismatch"), errors.BadRows, "dimension"),
    *((milvus(code, "missing"), errors.PlanNeeded, "missing") for code in (100, 109, 700, 1600)),
    (milvus("schema mismatch", "", foreign.SchemaMismatchRetryableException), errors.PlanNeeded, "altered during this run"),
    (milvus(800, "database not found"), errors.ConfigError, "database"),
    *((milvus(code, "who are you"), errors.AuthError, "who are you") for code in (1400, 1401)),
    (milvus(1, "illegal uri", foreign.ConnectionConfigException), errors.ConfigError, "illegal uri"),
    # poison rows
    (milvus(1, "Insert missed an field `a`", foreign.DataNotMatchException), errors.BadRows, "missed"),
    (milvus(1, "invalid input for float32 vector", foreign.ParamError), errors.BadRows, "invalid input"),
    (TypeError("wrong type of argument 'data'"), errors.BadRows, "wrong type"),
    (milvus(1100, "the length (9) of 1th string exceeds max length (8)"), errors.BadRows, "exceeds"),
    (milvus(6, "VARCHAR field 's' value length 9 exceeds max_length=8"), errors.BadRows, "exceeds"),
    (milvus(1001, "IO failed: json: cannot unmarshal array"), errors.BadRows, "unmarshal"),
    (milvus(1001, "IO failed: disk"), errors.SinkError, "disk"),
    (milvus(65535, "value 'NaN' is not a number or infinity"), errors.BadRows, "NaN"),
    # everything else
    (milvus(1, "collection already exists"), errors.SinkError, "already exists"),
    (milvus(4711, "new in 2030"), errors.SinkError, "4711"),
    (RuntimeError("odd"), errors.SinkError, "RuntimeError: odd"),
]


@pytest.mark.parametrize(("error", "kind", "words"), CASES, ids=lambda value: repr(value)[:60] if isinstance(value, Exception) else "")
def test_every_row_of_the_table(error: Exception, kind: type[errors.ConnectorError], words: str) -> None:
    """Rule: the type of our error decides what happens next, so each known signal has exactly one."""
    ours = translate(error, "upsert into c")
    assert type(ours) is kind
    assert words in str(ours)
    assert ours.message.startswith("upsert into c: ")


@pytest.mark.parametrize(("name", "kind"), [("DataDirLockedError", errors.Locked), ("ManifestCorruptedError", errors.SinkError)])
def test_errors_of_milvus_lite(name: str, kind: type[errors.ConnectorError]) -> None:
    """Rule: a locked file is told as such, not as "Open local milvus failed"."""
    from milvus_lite import exceptions

    assert type(translate(getattr(exceptions, name)("/somewhere"))) is kind


def test_a_cause_that_is_its_own_cause_ends() -> None:
    """Rule: pymilvus raises errors from themselves; following causes must end."""
    error = milvus(2, "down", context=Rpc(S.UNAVAILABLE))
    error.__context__.__context__ = error  # type: ignore[union-attr]  # it was set above
    assert [one.kind for one in signals(error)] == ["MilvusException", "Rpc"]


def test_an_older_error_of_ours_in_the_context_does_not_decide() -> None:
    """Rule: an error raised while another was handled is judged by itself, not by the older story."""
    old = errors.Transient("earlier")
    old.__cause__ = Rpc(S.UNAUTHENTICATED)
    assert type(translate(milvus(65535, "value 'NaN'", context=old))) is errors.BadRows


def test_our_own_errors_stay_as_they_are() -> None:
    """Rule: an error is translated once."""
    own = errors.Transient("rows missing")
    assert translate(own, "x") is own


def test_a_precise_code_is_not_overruled_by_what_is_behind_it() -> None:
    """Rule: a refused row stays a refused row although an older network error is in its context."""
    assert type(translate(milvus(1100, "too long", context=Rpc(S.UNAVAILABLE)))) is errors.BadRows


def test_no_secret_passes() -> None:
    """Rule: only sanitised, short text of a foreign error reaches a message."""
    text = "cannot reach http://root:Geheim1@host:19530 with token=Geheim1 and password: Geheim1 \n" + "x" * 500
    assert "Geheim1" not in sanitise(text)
    assert len(sanitise(text)) == 300
    assert "\n" not in sanitise(text)
    assert "Geheim1" not in str(translate(milvus(2, text, context=Rpc(S.UNAVAILABLE, text))))


def test_a_signal_inside_pymilvus_is_a_signal() -> None:
    """Rule: a signal that comes while pymilvus is at work ends the run as a signal, though pymilvus wraps it as an error of its own."""
    stopped = errors.Interrupted(15)
    assert translate(milvus(1, "Unexpected error", context=stopped), "count") is stopped
    direct = foreign.MilvusException(1, "Unexpected error")
    direct.__cause__ = stopped
    assert translate(direct) is stopped
