"""The three nouns: keys and hashes that every user's collection depends on, and what a visit and a window promise."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.record import KEY_FORMAT, Document, Part, Payload, Visit, Window, content_hash, fingerprint, generated_key
from connector.stations.rows import LINEAGE_FORMAT, lineage

GOLDEN = Path(__file__).parent / "golden" / "keys.json"

KEYS: list[tuple[str, str, int]] = [
    ("products", "a.md", 0),
    ("products", "a.md", 1),
    ("products", "a.m", 10),
    ("produkte", "übergröße/Ω.md", 0),
    ("n", "👩‍👩‍👧 e\u0301", 3),
    ("n", "line\nbreak\ttab", 2**40),
    ("", "", 0),
]
CONTENTS: list[tuple[bytes | None, dict[str, Any]]] = [
    (None, {}),
    (b"", {}),
    (b"\x00\xff", {"path": "a\udcff.md"}),
    (b"text", {"b": 1, "a": [1.5, None, True], "ü": {"z": "1", "y": "2"}}),
    (None, {"n": float("nan"), "big": 2**70, "text": "1", "number": 1}),
    (None, {"when": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"\x00"}),
    (None, {"array": np.array([[1, 2], [3, 4]], dtype=np.float32), "set": set("the quick brown fox")}),
]


def document(key: str = "a") -> Document:
    """A document that is not opened."""
    return Document(key, lambda: Payload({}))


def frozen() -> dict[str, Any]:
    """Everything derived that is stored in users' collections."""
    visit = Visit(document("übergröße/Ω.md"), content=content_hash(b"text", {}), total=7)
    return {
        "key_format": KEY_FORMAT,
        "lineage_format": LINEAGE_FORMAT,
        "keys": [generated_key(*one) for one in KEYS],
        "contents": [content_hash(*one) for one in CONTENTS],
        "fingerprint": fingerprint({"split": {"size": 256}, "parse": None, "ü": [1, 2.5]}),
        "lineage": lineage("products", visit, "0123456789abcdef"),
    }


def test_keys_are_frozen() -> None:
    """Keys, content hashes and lineage are in users' collections. A change here is a migration: raise the format and write one."""
    assert frozen() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_keys_are_the_same_in_every_process() -> None:
    """No derivation depends on the hash seed of the process, on addresses, or on the order of a set."""
    folder = str(Path(__file__).parent)
    code = f"import sys, json; sys.path.insert(0, {folder!r}); import test_record; print(json.dumps(test_record.frozen()))"
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == frozen()


names = st.text("ab1é", max_size=3)


@given(st.lists(st.tuples(names, names, st.integers(0, 20)), min_size=2, max_size=50))
def test_generated_keys_are_distinct(rows: list[tuple[str, str, int]]) -> None:
    """Different rows never share a key, wherever the parts are cut."""
    keys = {generated_key(*row) for row in rows}
    assert len(keys) == len(set(rows))
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((None, {}), (b"", {})),
        ((None, {"a": 1}), (None, {"a": "1"})),
        ((None, {"a": 1}), (None, {"a": 1.0})),
        ((None, {"a": 1}), (None, {"a": True})),
        ((None, {"a": None}), (None, {})),
        ((None, {"a": b"x"}), (None, {"a": "x"})),
        ((b"a", {}), (b"", {"a": 1})),
        ((None, {"v": np.zeros(4, np.float32)}), (None, {"v": np.zeros((2, 2), np.float32)})),
        ((None, {"v": np.ones(1, np.float32)}), (None, {"v": np.ones(1, np.float32).view(np.int32)})),
        ((None, {"v": np.array(["a", None], object)}), (None, {"v": np.array(["b", None], object)})),
        ((None, {"v": {"a", "b"}}), (None, {"v": {"a", "c"}})),
        ((None, {"v": array("i", [1])}), (None, {"v": array("i", [2])})),
    ],
)
def test_different_content_has_different_hashes(
    one: tuple[bytes | None, dict[str, Any]], other: tuple[bytes | None, dict[str, Any]]
) -> None:
    """A changed value is never taken for an unchanged one."""
    assert content_hash(*one) != content_hash(*other)


def test_equal_content_has_equal_hashes() -> None:
    """The order of fields is no content, and neither is the address of an object in an array."""
    assert content_hash(b"x", {"a": 1, "b": [2]}) == content_hash(b"x", {"b": [2], "a": 1})
    words = [{"v": np.array([f"lo{end}", None], object)} for end in ("ng", "ng")]
    assert content_hash(None, words[0]) == content_hash(None, words[1])


def test_reject_of_a_document_decides_its_outcome_and_of_a_row_does_not() -> None:
    """Good rows of a document land although one is bad."""
    visit = Visit(document())
    visit.reject("conform", "row is bad", ordinal=3)
    assert visit.outcome is None
    visit.reject("read", "gone", retry=True)
    assert visit.outcome == "rejected"
    assert [(reject.document, reject.ordinal, reject.station, reject.retry) for reject in visit.rejects] == [
        ("a", 3, "conform", False),
        ("a", None, "read", True),
    ]


def test_reasons_can_always_be_stored() -> None:
    """A reason quotes users' data; a lone surrogate in it is escaped, because neither SQLite nor a terminal takes it."""
    visit = Visit(document())
    visit.reject("parse", "bad \udcff text")
    assert visit.rejects[0].reason == r"bad \udcff text"


def test_window_says_whose_each_row_is() -> None:
    """Ordinals count within the document, also where a document continues from the window before."""
    one, two = Visit(document("a")), Visit(document("b"))
    window = Window([Part(one, 0, 2, 5, last=True), Part(two, 2, 2, 0, last=True), Part(two, 2, 3, 0, last=False)], [{}, {}, {}])
    assert [(index, visit.key, ordinal) for index, visit, ordinal in window.whose()] == [(0, "a", 5), (1, "a", 6), (2, "b", 0)]
