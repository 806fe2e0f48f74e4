"""What looks at whole columns or windows gives, to the letter, what looking at every value, vector and document gives."""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.encoding import ready
from connector.ledger import Ledger
from connector.record import CANONICAL, Key, Window
from connector.schema.indexes import FLAT
from connector.schema.spec import FieldSpec, VectorFieldSpec
from connector.schema.values import convert
from connector.schema.whole import whole
from connector.spelling import canonical
from tests.ledger.test_ledger import entered, visit, window

VECTOR = np.linspace(-1, 1, 12, dtype=np.float32)


class Colour(enum.StrEnum):
    """Looks like a text, and is none to be taken as it is."""

    RED = "red"


ODD: list[Any] = [
    *(VECTOR, VECTOR[::2], VECTOR.reshape(3, 4), VECTOR.reshape(3, 4)[:, 1], VECTOR.astype("f2"), VECTOR.astype(">f4")),
    *(np.arange(3), np.array([True]), np.array(["a", None], dtype=object), np.array(3.0), np.zeros(0), np.float32(2), np.float64(0.1)),
    *(Colour.RED, b"bytes", {2, 1}, (1, 2), [1, {"z": 1, "b": [None]}], datetime(2020, 1, 1, tzinfo=UTC)),
    *(math.nan, math.inf, -math.inf, -0.0, 10**30, True, None, "\ud800", 'ü"\n\\', ""),
]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_odd_values_are_spelled_as_ever(value: Any) -> None:
    """A content hash that came out otherwise would have every document of every user read as changed."""
    assert canonical({"b": value, "a": 1, "é": value}) == CANONICAL.encode({"b": value, "a": 1, "é": value})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=5) | st.dictionaries(st.integers(), st.integers(), max_size=3))
@settings(max_examples=150, deadline=None)
def test_rows_are_spelled_as_ever(row: dict[Any, Any]) -> None:
    """Whatever a row holds."""
    assert canonical(row) == CANONICAL.encode(row)


FIELDS = [
    FieldSpec(name="f", type="VARCHAR", max_length=8),
    FieldSpec(name="f", type="VARCHAR", max_length=8, primary_key=True),
    FieldSpec(name="f", type="VARCHAR", max_length=8, nullable=True),
    FieldSpec(name="f", type="VARCHAR", max_length=8, default="d"),
    FieldSpec(name="f", type="INT8"),
    FieldSpec(name="f", type="INT64", nullable=True),
    FieldSpec(name="f", type="FLOAT"),
    FieldSpec(name="f", type="DOUBLE", default=1.5),
    FieldSpec(name="f", type="BOOL"),
    FieldSpec(name="f", type="JSON"),
]
_VALUES = {
    "VARCHAR": st.text(max_size=10) | st.sampled_from(["", "ä" * 4, "ä" * 5, "\ud800", "x" * 8, "x" * 9, Colour.RED]),
    "INT8": st.integers(-130, 130) | st.booleans(),
    "INT64": st.integers(-(2**64), 2**64),
    "FLOAT": st.floats(),
    "DOUBLE": st.floats() | st.integers(),
    "BOOL": st.booleans() | st.integers(0, 1),
    "JSON": st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
}


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_a_column_is_what_its_values_are(field: FieldSpec) -> None:
    """If a column is taken whole, each of its values is one that `convert` gives back as it is."""

    @given(st.lists(_VALUES[field.type] | st.none(), max_size=5))
    @settings(max_examples=60, deadline=None)
    def check(values: list[Any]) -> None:
        found = whole(field, values)
        if found is not None:
            wanted = [convert(field, field.default if value is None else value) for value in values]
            assert [(type(one), one) for one in found] == [(type(one), one) for one in wanted]

    check()


def test_columns_of_tables_are_taken_whole() -> None:
    """The quick way is taken, which no other test would notice."""
    text, number = FIELDS[0], FIELDS[7]
    assert whole(text, ["a", "ä"]) == ["a", "ä"]
    assert whole(number, [1.0, None]) == [1.0, 1.5]
    assert whole(text, ["a", None]) is None


def field_of(**changes: Any) -> VectorFieldSpec:
    """A field of ready-made vectors."""
    given: dict[str, Any] = {"name": "v", "dim": 4, "metric": "COSINE", "index": FLAT(), **changes}
    return VectorFieldSpec(**given)


ROWS: dict[str, list[Any]] = {
    "fit": [np.array([1, 2, 3, number], dtype=np.float32) for number in range(6)],
    "unfit": [np.array(one, dtype=np.float32) for one in ([1, 2, 3, 4], [0, 0, 0, 0], [1, math.nan, 0, 0], [math.inf] * 4, [7e4] * 4)],
    "double": [np.array(one) for one in ([1.0, 2, 3, 4], [1e39, 0, 0, 0], [1e-60, 0, 0, 0], [-1e300] * 4)],
    "short": [np.ones(4, dtype=np.float32), np.ones(3, dtype=np.float32)],
    "mixed": [np.ones(4, dtype=np.float32), [1, 2, 3, 4], None, np.ones(4, dtype=np.float16), np.arange(4)],
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("metric", ["COSINE", "L2"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", list(ROWS))
def test_vectors_together_are_vectors_one_by_one(name: str, dtype: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same array and the same reasons, also where another row is bad already."""
    field = field_of(dtype=dtype, metric=metric)

    def taken() -> Window:
        made = Window([], [{"v": value} for value in ROWS[name]], bad={0: ("split", "before")})
        ready.take_ready(made, field)
        return made

    quick = taken()
    monkeypatch.setattr(ready, "_one_by_one", lambda made, *_: [index for index in range(len(made.rows)) if index not in made.bad])
    slow = taken()
    assert quick.bad == slow.bad
    np.testing.assert_array_equal(quick.vectors["v"], slow.vectors["v"])


def owners(ledger: Ledger) -> dict[Any, str]:
    """Which document has which key."""
    return {pk: document for document, pk in ledger.owned(["a", "b", "c"])}


def rows_of(ledger: Ledger) -> dict[str, int]:
    """How many rows each document has."""
    return {key: known.rows for key, known in ledger.known(["a", "b", "c"]).items()}


def put(ledger: Ledger, *documents: tuple[str, set[str]], take_over: bool = True) -> None:
    """Writes a window of these documents with these keys, all of which are acknowledged."""
    visits = [visit(key, len(keys), outcome="written", acknowledged=set(keys)) for key, keys in documents]
    made = window(*visits)
    keys = [pk for _, one in documents for pk in sorted(one)]
    ledger.begin(made, dict(enumerate(keys)), take_over=take_over)
    ledger.complete(made, "run", take_over=take_over)


def test_keys_go_from_document_to_document(tmp_path: Path) -> None:
    """A whole window at once: keys that are gone are freed, and one that moves is a row less of whoever had it, in or out of the window."""
    with entered(tmp_path / "a.db", natural=True) as ledger:
        put(ledger, ("a", {"1", "2"}), ("b", {"3"}), ("c", {"4", "5"}))
        assert (owners(ledger), rows_of(ledger)) == ({"1": "a", "2": "a", "3": "b", "4": "c", "5": "c"}, {"a": 2, "b": 1, "c": 2})
        put(ledger, ("a", {"2", "3"}), ("b", {"1"}))
        assert (owners(ledger), rows_of(ledger)) == ({"1": "b", "2": "a", "3": "a", "4": "c", "5": "c"}, {"a": 2, "b": 1, "c": 2})
        put(ledger, ("b", {"1", "4"}))
        assert (owners(ledger), rows_of(ledger)) == ({"1": "b", "2": "a", "3": "a", "4": "b", "5": "c"}, {"a": 2, "b": 2, "c": 1})
        put(ledger, ("a", {"7", "8"}), ("c", {"8", "9"}))
        assert (owners(ledger), rows_of(ledger)) == ({"1": "b", "4": "b", "7": "a", "8": "c", "9": "c"}, {"a": 1, "b": 2, "c": 2})


def test_stale_keys_of_a_whole_window(tmp_path: Path) -> None:
    """Natural keys that were not written again, and ordinals beyond the last one; nothing of documents that are whole."""
    with entered(tmp_path / "a.db", natural=True) as ledger:
        put(ledger, ("a", {"1", "2"}), ("b", {"3"}))
        assert ledger.stale([visit("a", 1, acknowledged={"2"}), visit("b", 1, acknowledged={"3"})]) == ["1"]
    with entered(tmp_path / "b.db") as ledger:
        first, second = visit("a", 3, outcome="written"), visit("b", 1, outcome="written")
        ledger.begin(window(first, second), None, take_over=False)
        written = set(ledger.keys_of("a", 2))
        assert ledger.stale([visit("a", 2, acknowledged=written), visit("b", 1, acknowledged=set(ledger.keys_of("b")))]) == [
            ledger.keys_of("a")[2]
        ]


@given(
    before=st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from("12345"), max_size=3)),
    now=st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sets(st.sampled_from("123456789"), max_size=3), st.booleans())),
)
@settings(max_examples=150, deadline=None)
def test_new_documents_need_no_look_up(before: dict[str, set[str]], now: dict[str, tuple[set[str], bool]]) -> None:
    """Who owns what, how many rows each has and what is stale come out alike, whether the new ones of a window are looked up or not."""
    found = []
    for quick in (False, True):
        with Ledger(None) as ledger:
            ledger.enter("ns", "uid", "f" * 16, {}, natural=True)
            for key, pks in before.items():
                put(ledger, (key, pks - {pk for other in before if other < key for pk in before[other]}))
            ledger.enter("ns", "uid", "f" * 16, {}, natural=True)
            ledger.see(list(now))
            visits = [visit(key, len(pks), outcome="written", fresh=quick and key not in before) for key, (pks, _) in now.items()]
            made = window(*visits)
            rows = [(one, pk) for one in visits for pk in sorted(now[one.key][0])]
            taken = [pk for _, pk in rows]
            keys: dict[int, Key] = {index: pk for index, pk in enumerate(taken) if pk not in taken[:index]}
            had = ledger.had(visits)
            claimed = ledger.begin(made, keys, take_over=False)
            for index, (one, pk) in enumerate(rows):
                refused = index == 0 and now[one.key][1]
                if index not in keys or index in claimed or refused:
                    one.reject("write" if refused else "claim", "no", ordinal=index)
                else:
                    one.acknowledged.add(pk)
            stale = sorted(map(str, ledger.stale(visits)))
            ledger.complete(made, "run")
            names = [*"abcdef"]
            counts = {key: (known.status, known.rows) for key, known in ledger.known(names).items()}
            found.append((stale, sorted(ledger.owned(names)), counts, had | set(keys.values())))
    assert found[0] == found[1]
