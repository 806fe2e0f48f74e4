"""Any history of a source, with crashes, faults of the server and two runs at once: a run that ends by itself leaves the source's rows."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from connector.commands.running import run_job
from connector.errors import Locked, Transient
from connector.faults import POINTS
from connector.job import Job
from connector.report import RunReport
from connector.schema import Collection, Field, Vector, VectorField
from connector.stations import Options
from connector.testing import milvus_faults as faults
from connector.testing.encoders import COUNTS
from connector.testing.failpoints import failing
from connector.testing.faulty_milvus import FaultyMilvus
from connector.testing.oracle import check_job
from connector.testing.sources import Abort, ListSource
from tests.secrets import CANARY

EXAMPLES = int(os.environ.get("CONNECTOR_HISTORIES", "8"))
STEPS = 15
SEEN: Counter[str] = Counter()
"""How often a run was compared with the source, crashed, or was locked out."""
IN_A_RUN = [point for point in POINTS if not point.startswith("apply.")]
KEYS = st.sampled_from([f"k{number}" for number in range(8)] + ["ü'\"\\ 世界", "\U0001f9ff\u202e"])
TEXTS = st.integers(7, 60).map(lambda count: [f"row {number}" for number in range(count)]) | st.lists(
    st.sampled_from(["A", "B", "tea", "Grüße", "quote ' and \\", "x" * 40, "tab\tand\u2028line"]), max_size=6
)
FAULTS = st.sampled_from(["rate_limited", "unreachable", "lost_answer", "wrong_count", "not_ready"])


class Notes(Collection):
    """Some rows a document."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=60)
    ordinal: int
    vector: Vector = VectorField(dim=8, encoder="fake:fake")


def lines(row: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a text."""
    return [{**row, "text": text} for text in row["texts"]]


class History(RuleBasedStateMachine):
    """A source that changes, and runs that may die; `settled` is whether the last run ended by itself and nothing changed since."""

    folder: Path
    milvus: FaultyMilvus

    @initialize()
    def begin(self) -> None:
        """A namespace of its own on the module's Milvus."""
        self.documents: dict[str, list[str]] = {}
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.settled = False
        self.milvus.faults = []

    @property
    def job(self) -> Job:
        """As a new process would read it."""
        items = [{"key": key, "texts": list(texts)} for key, texts in self.documents.items()]
        return self.over(items)

    def over(self, items: list[Any]) -> Job:
        """The job over these items."""
        reach = self.milvus.settings(timeout=5, retry_deadline=10, token=CANARY)
        given = {"job": "j", "namespace": self.home.name, "into": Notes, "source": ListSource(items, "listing"), "milvus": reach}
        return Job.check({**given, "state": self.home / "state.db", "sync": "mirror", "transform": lines, "workers": 0}, "history")

    def run(self, job: Job | None = None) -> RunReport:
        """One run; nothing is too much to delete."""
        return run_job(job or self.job, Options(allow_mass_delete=True))

    @rule(key=KEYS, texts=TEXTS)
    def put(self, key: str, texts: list[str]) -> None:
        """A new document, or a new version of one."""
        self.settled &= self.documents.get(key) == texts
        self.documents[key] = texts

    @precondition(lambda self: self.documents)
    @rule(data=st.data(), to=st.none() | KEYS)
    def take(self, data: st.DataObject, to: str | None) -> None:
        """A document vanishes, or takes another key, or another document's."""
        texts = self.documents.pop(data.draw(st.sampled_from(sorted(self.documents))))
        self.documents |= {to: texts} if to else {}
        self.settled = False

    @rule(changed=st.dictionaries(KEYS, TEXTS, min_size=1, max_size=4), point=st.sampled_from(IN_A_RUN), passage=st.sampled_from([1, 1, 2]))
    def crash(self, changed: dict[str, list[str]], point: str, passage: int) -> None:
        """Some documents change, and the run that would write them dies, if it comes to that point."""
        self.documents |= changed
        self.settled = False
        SEEN["tried"] += 1
        try:
            with failing(f"{point}:{passage}:raise"):
                self.run()
        except RuntimeError:
            SEEN["crashed"] += 1

    @rule(after=st.integers(0, 4))
    def break_off(self, after: int) -> None:
        """A run whose source breaks off in the middle of the listing."""
        self.settled = False
        items: list[Any] = [{"key": key, "texts": list(texts)} for key, texts in self.documents.items()]
        items.insert(after, Abort())
        with contextlib.suppress(RuntimeError):
            self.run(self.over(items))

    @rule(name=FAULTS, method=st.sampled_from(["Upsert", "Delete", "*"]), skip=st.integers(0, 3), times=st.integers(1, 2))
    def disturb(self, name: str, method: str, skip: int, times: int) -> None:
        """The server will misbehave soon."""
        self.milvus.faults = [getattr(faults, name)(times=times, method=method, skip=skip)]

    @rule(twin=st.booleans())
    def finish(self, *, twin: bool) -> None:
        """A run that ends by itself, alone or beside another, which is locked out or comes after."""

        def second() -> None:
            try:
                self.run()
            except (Locked, Transient):
                SEEN["locked"] += 1

        other = threading.Thread(target=second)
        if twin:
            other.start()
        for _ in range(100):
            with contextlib.suppress(Locked):
                report = self.run()
                break
        else:
            pytest.fail("locked out for ever")
        if twin:
            other.join()
        assert report.exit_code == 0, report.message
        self.settled, self.milvus.faults = True, []
        verdict = check_job(self.job)
        assert verdict.right, verdict
        SEEN["compared"] += 1

    @precondition(lambda self: self.settled)
    @rule()
    def repeat(self) -> None:
        """A run without news reads nothing new into the collection and encodes nothing."""
        before = COUNTS["items"]
        report = self.run()
        assert (report.rows.upserted, report.rows.deleted, COUNTS["items"] - before) == (0, 0, 0)

    def teardown(self) -> None:
        """Every history ends with a run that ends by itself."""
        if hasattr(self, "documents"):
            self.finish(twin=False)


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[FaultyMilvus]:
    """One for all histories of a test."""
    with FaultyMilvus(tmp_path / "lite.db") as running:
        yield running


@pytest.mark.timeout(1800)
def test_any_history_converges(milvus: FaultyMilvus, tmp_path: Path) -> None:
    """Add, modify, delete, rename, crash at any failpoint, break off, two runs at once, a server with faults: it converges."""
    History.folder, History.milvus = tmp_path, milvus
    bounded = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],  # making a failing history smaller would take longer than a test may
        print_blob=True,
    )
    run_state_machine_as_test(History, settings=bounded)
    assert milvus.collisions("id") == []
    assert SEEN["compared"] >= EXAMPLES
    assert SEEN["crashed"] > 0
