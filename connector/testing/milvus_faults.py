"""What can go wrong between a client and Milvus, as data: a fault says which requests it is for and what becomes of them.

The functions make the usual ones, in the words of a real server; `faulty_milvus.FaultyMilvus` carries them out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """What happens to requests instead of an ordinary answer; the functions below make the usual ones.

    Attributes:
        method: Of the Milvus service: "Upsert", "Delete", "Query", ...; "*" means any.
        times: How many requests meet it; None: all.
        skip: How many requests of that method pass before.
        when: Which requests it is for.
        delay: Seconds that pass first.
        code: Code of Milvus that is answered, with `reason`.
        rpc: Name of the grpc status that ends the call, with `reason`.
        reason: The server's words.
        applied: Whether the request is carried out although `code` or `rpc` is answered.
        late: The request is carried out so many seconds after the client gave up waiting; None: it is not.
        miscount: Added to the number of rows that a write's answer claims.
    """

    method: str = "Upsert"
    times: int | None = 1
    skip: int = 0
    when: Callable[[Any], bool] = lambda _: True
    delay: float = 0.0
    code: int = 0
    rpc: str = ""
    reason: str = ""
    applied: bool = False
    late: float | None = None
    miscount: int = 0

    def takes(self, method: str, request: Any) -> bool:
        """Whether this request meets the fault; counts it then."""
        if self.method not in {method, "*"} or self.times == 0 or not self.when(request):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


def rate_limited(times: int | None = 1, **given: Any) -> Fault:
    """Refused as a server does that limits the rate (code 8)."""
    reason = "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=0.05]"
    return Fault(times=times, code=8, reason=reason, **given)


def writes_denied(times: int | None = 1, **given: Any) -> Fault:
    """Refused as a server does that is read-only, by quota or by its administrator (code 9)."""
    return Fault(times=times, code=9, reason="quota exceeded[reason=disk quota exceeded, please allocate more resources]", **given)


def not_ready(times: int | None = 1, **given: Any) -> Fault:
    """Refused as a server does that is still starting."""
    return Fault(times=times, code=1, reason="service not ready[Proxy=1]: state code: Initializing", **given)


def unreachable(times: int | None = 1, **given: Any) -> Fault:
    """The call breaks off before the request is carried out, as when a proxy in between dies."""
    return Fault(times=times, rpc="UNAVAILABLE", reason="Socket closed", **given)


def lost_answer(times: int | None = 1, **given: Any) -> Fault:
    """The request is carried out, but its answer never arrives: the connection breaks."""
    return Fault(times=times, rpc="UNAVAILABLE", reason="Socket closed", applied=True, **given)


def lands_late(times: int | None = 1, *, after: float = 0.0, **given: Any) -> Fault:
    """The client times out; so many seconds later the request is carried out."""
    return Fault(times=times, late=after, **given)


def wrong_count(off: int = -1, times: int | None = 1, **given: Any) -> Fault:
    """A write is carried out, and its answer claims another number of rows."""
    return Fault(times=times, miscount=off, **given)


@dataclass
class Recorded:
    """One request and what came of it.

    Attributes:
        method: Of the Milvus service.
        request: As it arrived: a message of `pymilvus.grpc_gen.milvus_pb2`.
        begun: When it arrived, on the monotonic clock.
        ended: When the client had its answer or gave up; None: not yet.
        applied: When it was carried out; None: never, or not yet.
        answer: "ok", "code 8", "UNAVAILABLE", "no answer".
    """

    method: str
    request: Any
    begun: float
    ended: float | None = None
    applied: float | None = None
    answer: str = ""

    @property
    def nbytes(self) -> int:
        """Size of the request."""
        return int(self.request.ByteSize())

    def column(self, name: str) -> list[Any]:
        """The values of one scalar field of a write, such as its primary keys."""
        for data in self.request.fields_data:
            if data.field_name == name:
                return list(getattr(data.scalars, data.scalars.WhichOneof("data")).data)
        return []


@dataclass
class Bucket:
    """A limit as Milvus has it: a request passes while the bucket is not in debt, however large the request is.

    Attributes:
        bytes_a_second: How fast it fills, and how much it holds.
        level: What it holds; below 0 it is in debt.
        filled: When it was last looked at, on the monotonic clock.
    """

    bytes_a_second: float
    level: float = 0.0
    filled: float = field(default_factory=time.monotonic)

    def takes(self, nbytes: int) -> bool:
        """Whether a request of so many bytes passes now."""
        now = time.monotonic()
        self.level = min(self.level + (now - self.filled) * self.bytes_a_second, self.bytes_a_second)
        self.filled = now
        if self.level < 0:
            return False
        self.level -= nbytes
        return True


def refusal(method: str, fault: Fault) -> Any:
    """The method's answer with a code of Milvus in its status, and the older code that some clients look at."""
    from pymilvus.grpc_gen import common_pb2, milvus_pb2

    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    older = {8: common_pb2.RateLimit, 9: common_pb2.ForceDeny}.get(fault.code, common_pb2.UnexpectedError)
    status = common_pb2.Status(code=fault.code, error_code=older, reason=fault.reason)
    kind = getattr(milvus_pb2, service.methods_by_name[method].output_type.name, None)
    return status if kind is None else kind(status=status)
