"""The sink on a Milvus that misbehaves: what was sent, in which order, and what is there afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.errors import SinkError, Throttled, Transient
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.sink import MAX_REQUEST_BYTES, MilvusSink
from connector.plan import Want, diff
from connector.record import Window
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.milvus_faults import Fault
from connector.testing.proxy import TcpProxy
from tests.secrets import CANARY


class Things(Collection, name="things"):
    """A key and something to compare."""

    id: str = Field(primary_key=True, max_length=20)
    text: str = Field(max_length=60_000)
    vector: Vector = VectorField(dim=4, source="v")


SPEC = spec_of(Things)


def window(first: int, last: int, text: str = "x") -> Window:
    """Rows k<first> to k<last - 1> with that text."""
    lineage = {"connector_namespace": "ns", "connector_key": "k", "connector_content": "c.f.1"}
    rows = [{"id": f"k{number}", "text": text, **lineage} for number in range(first, last)]
    vectors: dict[str, Any] = {"vector": np.ones((last - first, 4), dtype=np.float32)}
    return Window(parts=[], rows=rows, vectors=vectors, nbytes=sum(len(text) + 16 for _ in rows))


class Bench:
    """A sink on a faulty Milvus, with its collection made."""

    def __init__(self, milvus: FaultyMilvus, **settings: Any) -> None:
        self.milvus = milvus
        self.connection = connect(milvus.settings(**{"token": CANARY, "timeout": 0.7, "retry_deadline": 15, **settings}))
        catalog, want = Catalog(self.connection), Want(SPEC, {})
        catalog.apply(diff(want, catalog.have("things")), want)
        self.sink = MilvusSink(self.connection, "things__g1", SPEC)

    @property
    def texts(self) -> dict[str, str]:
        """What is there, by key."""
        return {row["id"]: row["text"] for row in self.sink.scan(None, ["id", "text"])}

    @property
    def sent(self) -> list[tuple[list[str], str]]:
        """(keys, answer) of every upsert."""
        return [(one.column("id"), one.answer) for one in self.milvus.of("Upsert")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A Milvus that says it is a server, with the collection made."""
    with FaultyMilvus(tmp_path_factory.mktemp("faulty") / "lite.db", version="v2.6.0") as milvus:
        made = Bench(milvus)
        yield made
        made.connection.close()


@pytest.fixture
def bench(running: Bench) -> Bench:
    """That one, empty, behaving, and with a new sink."""
    running.milvus.faults = []
    running.milvus.limit(None)
    running.sink = MilvusSink(running.connection, "things__g1", SPEC)
    running.sink.delete(list(running.texts))
    running.milvus.requests.clear()
    return running


@pytest.fixture
def impatient(bench: Bench) -> Iterator[Bench]:
    """The same through a connection that gives up after three seconds."""
    with connect(bench.milvus.settings(timeout=0.7, retry_deadline=3, token=CANARY)) as connection:
        bench.sink = MilvusSink(connection, "things__g1", SPEC)
        yield bench


UNKNOWN = [
    faults.unreachable(),
    faults.lost_answer(),
    faults.lost_answer(3),
    faults.wrong_count(),
    faults.wrong_count(-3),
    faults.lands_late(),
    faults.not_ready(2),
    Fault(rpc="ABORTED"),
    Fault(rpc="CANCELLED", applied=True),
]


@pytest.mark.parametrize("fault", UNKNOWN, ids=lambda fault: f"{fault.rpc or fault.code or 'late' if not fault.miscount else 'count'}")
def test_an_unknown_outcome_is_sent_again_unchanged(bench: Bench, fault: Fault) -> None:
    """Rule: whatever became of a request, the very same rows are sent until they are acknowledged, before anything newer."""
    bench.milvus.faults = [fault]
    assert bench.sink.write(window(0, 3, "old")).acknowledged == [0, 1, 2]
    bench.sink.write(window(1, 3, "new"))
    requests = [one.request.SerializeToString(deterministic=True) for one in bench.milvus.of("Upsert")]
    assert len(requests) >= 3
    assert set(requests[:-1]) == {requests[0]}
    assert bench.texts == {"k0": "old", "k1": "new", "k2": "new"}
    assert bench.sink.count() == 3
    assert bench.milvus.collisions("id") == []


def test_a_request_that_lands_after_its_repetition(bench: Bench) -> None:
    """Rule: the first attempt may be carried out after the second was acknowledged; that changes nothing, as they are the same."""
    bench.milvus.faults = [faults.lands_late(after=1.5)]
    bench.sink.write(window(0, 3, "old"))
    first = bench.milvus.of("Upsert")[0]
    assert first.applied is None
    while first.applied is None:
        time.sleep(0.05)
    assert bench.texts == dict.fromkeys(("k0", "k1", "k2"), "old")
    assert bench.sink.count() == 3


def test_a_deadline_ends_the_write(impatient: Bench) -> None:
    """Rule: past the retry deadline the error says so, soon after it, and names what was tried; nothing newer was sent."""
    bench = impatient
    bench.milvus.faults = [faults.unreachable(None)]
    begun = time.monotonic()
    with pytest.raises(Transient, match="upsert into things__g1"):
        bench.sink.write(window(0, 3))
    assert 3 <= time.monotonic() - begun < 5
    assert bench.sink.count() == 0


def test_a_server_that_denies_writes_is_asked_rarely(impatient: Bench) -> None:
    """Rule: a used-up quota is no reason to upload the same rows a hundred times; the error says what the server said."""
    bench = impatient
    bench.milvus.faults = [faults.writes_denied(None)]
    begun = time.monotonic()
    with pytest.raises(Throttled, match="disk quota exceeded"):
        bench.sink.write(window(0, 3))
    assert 3 <= time.monotonic() - begun < 5
    assert 3 <= len(bench.sent) <= 7


def test_a_limited_rate_is_kept(bench: Bench) -> None:
    """Rule: the server's limit is found and kept to, most requests pass, and speed comes back when it is lifted."""
    bench.milvus.limit(100_000)
    size, begun = 0, time.monotonic()
    for number in range(20):
        bench.sink.write(window(number * 10, number * 10 + 10, "x" * 2_000))
        size += bench.milvus.of("Upsert")[-1].nbytes
    seconds = time.monotonic() - begun
    refused = sum(answer == "code 8" for _, answer in bench.sent)
    assert seconds > size / 100_000 - 1.5
    assert seconds < 2.5 * size / 100_000
    assert 1 <= refused <= 12
    assert len(bench.texts) == 200
    bench.milvus.limit(None)
    begun = time.monotonic()
    for number in range(30):
        bench.sink.write(window(number, number + 1))
    assert time.monotonic() - begun < 4


def test_windows_are_cut_by_bytes(bench: Bench) -> None:
    """Rule: a window over the bytes of a request goes in even pieces, each under the bound, packed once."""
    assert bench.sink.write(window(0, 400, "x" * 50_000)).acknowledged == list(range(400))
    sizes = {one.column("id")[0]: one.nbytes for one in bench.milvus.of("Upsert")}.values()
    assert len(sizes) == 3
    assert max(sizes) < min(MAX_REQUEST_BYTES, 1.1 * min(sizes))


def test_a_refused_size_is_halved_and_remembered(tmp_path: Path) -> None:
    """Rule: what a server calls too large is halved until it passes, and later windows begin with what passed."""
    with FaultyMilvus(tmp_path / "lite.db", version="v2.6.0", max_message=300_000) as milvus:
        bench = Bench(milvus)
        for first in (0, 40, 80):
            assert len(bench.sink.write(window(first, first + 40, "x" * 20_000)).acknowledged) == 40
        passed = [(len(keys), answer) for keys, answer in bench.sent]
        assert passed == [(10, "ok")] * 12
        assert len(bench.texts) == 120
        bench.connection.close()


def test_a_single_row_over_the_servers_size_is_rejected(tmp_path: Path) -> None:
    """Rule: a row that the server cannot take is named; the others land, also those beside it."""
    with FaultyMilvus(tmp_path / "lite.db", version="v2.6.0", max_message=30_000) as milvus:
        bench = Bench(milvus)
        mixed = window(0, 8, "x" * 5_000)
        mixed.rows[5]["text"] = "y" * 50_000
        receipt = bench.sink.write(mixed)
        assert list(receipt.rejects) == [5]
        assert "larger than max" in receipt.rejects[5]
        assert sorted(bench.texts) == [f"k{number}" for number in range(8) if number != 5]
        bench.connection.close()


def test_one_request_at_a_time(bench: Bench) -> None:
    """Rule: no key is ever in two requests that are under way, nor twice in one: one request at a time, keys once."""
    bench.milvus.faults = [Fault(times=None, delay=0.05)]
    twice = window(0, 6)
    twice.rows[5]["id"] = "k0"
    bench.sink.write(twice)
    bench.sink.write(window(0, 500, "x" * 50_000))
    assert len(bench.sent) == 1 + 3
    assert bench.milvus.most_in_flight("Upsert", "Delete") == 1
    assert bench.milvus.collisions("id") == []


def test_a_connection_that_is_cut_and_comes_back(bench: Bench) -> None:
    """Rule: a connection reset in the middle, and refused for a second, costs repetitions and nothing else."""
    with TcpProxy(bench.milvus.uri) as proxy, connect(bench.milvus.settings(uri=proxy.uri, timeout=1, retry_deadline=20)) as connection:
        sink = MilvusSink(connection, "things__g1", SPEC)
        sink.write(window(0, 3, "old"))
        proxy.cut()
        back = threading.Timer(1.0, proxy.resume)
        back.start()
        sink.write(window(0, 3, "new"))
        back.join()
        assert proxy.accepted > 1
    assert set(bench.texts.values()) == {"new"}


def test_a_black_hole(bench: Bench) -> None:
    """Rule: bytes that are swallowed for a while cost time-outs; what arrives late is what was sent, and newer rows win."""
    with TcpProxy(bench.milvus.uri) as proxy, connect(bench.milvus.settings(uri=proxy.uri, timeout=1, retry_deadline=20)) as connection:
        sink = MilvusSink(connection, "things__g1", SPEC)
        sink.write(window(0, 3, "old"))
        proxy.black_hole()
        back = threading.Timer(2.5, proxy.resume)
        back.start()
        sink.write(window(0, 3, "new"))
        sink.write(window(0, 3, "newer"))
        back.join()
    assert set(bench.texts.values()) == {"newer"}
    assert bench.sink.count() == 3


def test_an_answer_nobody_foresaw_is_not_repeated(bench: Bench) -> None:
    """Rule: a refusal that sending again cannot mend ends the write at once, with the server's words and code."""
    bench.milvus.faults = [Fault(code=777, reason="what is this")]
    with pytest.raises(SinkError, match=r"what is this \(code 777\)"):
        bench.sink.write(window(0, 3))
    assert len(bench.sent) == 1
