"""A Milvus that misbehaves on request: Milvus Lite's own service on a loopback port, with faults between it and its client.

Storage is real, so what a fault leaves behind can be compared with the source; answers are whatever a test says: codes, late or lost
answers, wrong counts, a rate limit. Every request is recorded. Milvus Lite takes one writer, so requests reach it one at a time;
what overlaps is what the client sends. `milvus_faults` has the faults.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from connector.milvus.settings import MilvusSettings
from connector.testing.milvus_faults import Bucket, Fault, Recorded, rate_limited, refusal

_CLIENT_GIVES_UP = 60.0
_THREADS = 32


class FaultyMilvus:
    """The server; a context manager.

    Args:
        folder: Where its data lies; kept afterwards, so that a new one on the same folder is the same server restarted.
        version: What it says it is, such as "v2.6.0", so that clients treat it as a server; default: Milvus Lite.
        max_message: Most bytes of one request, as a server's `grpc.serverMaxRecvSize`.

    Attributes:
        faults: Looked through at every request, first match; append to it at any time.
        requests: Every request, in order of arrival.
    """

    def __init__(self, folder: Path, *, version: str = "", max_message: int = 64 << 20) -> None:
        self.folder = folder
        self.version = version
        self.faults: list[Fault] = []
        self.requests: list[Recorded] = []
        self._max_message = max_message
        self._bucket: Bucket | None = None
        self._mutex, self._writer = threading.Lock(), threading.Lock()
        self._port = 0
        self._server: Any = None
        self._db: Any = None

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def settings(self, **options: Any) -> MilvusSettings:
        """How to reach it; `options` are keys of the `milvus:` block."""
        return MilvusSettings.model_validate({"uri": self.uri, **options})

    def limit(self, bytes_a_second: float | None) -> None:
        """Limits the rate of upserts from now on, as `quotaAndLimits.dml.upsertRate` does; None lifts it."""
        self._bucket = Bucket(bytes_a_second) if bytes_a_second else None

    def of(self, *methods: str) -> list[Recorded]:
        """The recorded requests of these methods."""
        return [one for one in list(self.requests) if one.method in methods]

    def most_in_flight(self, *methods: str) -> int:
        """How many requests of these methods were under way at the same moment, at most."""
        moments = sorted((when, step) for one in self.of(*methods) for when, step in ((one.begun, 1), (one.ended or one.begun, -1)))
        level = most = 0
        for _, step in moments:
            level += step
            most = max(most, level)
        return most

    def collisions(self, key: str) -> list[Any]:
        """Keys that stood in two upserts which were under way at the same moment, or twice in one."""
        sent = [(one.begun, one.ended or one.begun, one.column(key)) for one in self.of("Upsert")]
        twice = [value for _, _, keys in sent for value in set(keys) if keys.count(value) > 1]
        for number, (begun, ended, keys) in enumerate(sent):
            twice += [value for other in sent[number + 1 :] if other[0] < ended and begun < other[1] for value in set(keys) & set(other[2])]
        return twice

    def __enter__(self) -> Self:
        from milvus_lite.adapter.grpc.servicer import MilvusServicer
        from milvus_lite.db import MilvusLite
        from pymilvus.grpc_gen import milvus_pb2_grpc

        self._db = MilvusLite(str(self.folder))
        options = [("grpc.max_receive_message_length", self._max_message), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(_THREADS), interceptors=[_Interceptor(self)], options=options)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(self._db), self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stop(grace=None).wait()
        with self._writer:
            self._db.close()

    def serve(self, method: str, real: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
        """Answers one request."""
        record = Recorded(method, request, time.monotonic())
        with self._mutex:
            self.requests.append(record)
            fault = next((one for one in self.faults if one.takes(method, request)), None)
            if fault is None and method == "Upsert" and self._bucket is not None and not self._bucket.takes(record.nbytes):
                fault = rate_limited()
        answer = self._answer(record, fault or Fault(), partial(self._apply, record, real, request, context), context)
        record.ended = record.ended or time.monotonic()
        if method == "GetVersion" and self.version:
            answer.version = self.version
        return answer

    def _answer(self, record: Recorded, fault: Fault, apply: Callable[[], Any], context: Any) -> Any:
        time.sleep(fault.delay)
        if fault.late is not None:
            return self._land_late(record, fault.late, apply, context)
        if fault.rpc or fault.code:
            if fault.applied:
                apply()
            record.answer, record.ended = fault.rpc or f"code {fault.code}", time.monotonic()
            if fault.rpc:
                context.abort(getattr(grpc.StatusCode, fault.rpc), fault.reason)
            return refusal(record.method, fault)
        record.answer, answer = "ok", apply()
        for name in ("upsert_cnt", "insert_cnt", "delete_cnt") if fault.miscount else ():
            if hasattr(answer, name):  # a fault of every method also meets those that count nothing
                setattr(answer, name, max(0, getattr(answer, name) + fault.miscount))
        return answer

    def _land_late(self, record: Recorded, after: float, apply: Callable[[], Any], context: Any) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(_CLIENT_GIVES_UP)
        record.answer, record.ended = "no answer", time.monotonic()
        time.sleep(after)
        return apply()

    def _apply(self, record: Recorded, real: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
        with self._writer:
            answer = real(request, context)
        record.applied = time.monotonic()
        return answer


class _Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc ships no types
    """Puts `FaultyMilvus.serve` before every method."""

    def __init__(self, milvus: FaultyMilvus) -> None:
        self._milvus = milvus

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            partial(self._milvus.serve, details.method.rpartition("/")[2], handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
