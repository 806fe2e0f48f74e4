"""Parquet: rows with their values as they are, vectors as arrays, and a damaged part that says so."""

from __future__ import annotations

import datetime as dt
import functools
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connector.errors import DocumentError
from connector.record import Document, Gap, content_hash
from connector.sources import batches
from connector.sources.parquet import ParquetSource
from connector.testing.sources import check_source


def put(table: pa.Table, name: str = "a.parquet", **options: Any) -> None:
    """Writes a table."""
    pq.write_table(table, name, **options)


def listed(path: str | list[str] = "a.parquet", **options: Any) -> list[Document | Gap]:
    """What a source over this path lists."""
    source = ParquetSource(path, **options)
    return [item for part in source.partitions() for item in source.read(part, None) if isinstance(item, Document | Gap)]


def rows(**options: Any) -> list[Any]:
    """The rows of a.parquet, reasons of rejects as text."""
    return [_told(item) for item in listed(**options)]


def _told(item: Document | Gap) -> Any:
    assert isinstance(item, Document), item
    try:
        return item.open().fields
    except DocumentError as error:
        return error.message


@pytest.mark.parametrize("key", [None, "id"])
def test_contract(key: str | None) -> None:
    """The source keeps the contract of every source, over several row groups and files."""
    put(pa.table({"id": ["a", None, "c"], "n": [1, 2, 3]}), row_group_size=2)
    put(pa.table({"id": ["d"]}), "b.parquet")
    check_source(functools.partial(ParquetSource, ["a.parquet", "b.parquet"], key=key))


def test_a_row_is_a_document() -> None:
    """The key column names it, text or whole number; without one, its number through all row groups."""
    put(pa.table({"id": [7, 8, 9], "n": ["x", None, "z"]}), row_group_size=2)
    assert [(d.key, d.version) for d in listed(key="id") if isinstance(d, Document)] == [("7", None), ("8", None), ("9", None)]
    assert [d.key for d in listed() if isinstance(d, Document)] == ["1", "2", "3"]
    assert rows()[1] == {"id": 8, "n": None}


def test_values() -> None:
    """Values come as Python has them; nested nulls stay; maps are dicts; nanoseconds are cut to microseconds."""
    moment = dt.datetime(2024, 5, 17, 12, 0, 0, 123456)  # noqa: DTZ001  # the column has no time zone
    columns = {
        "map": pa.array([[(3, 0.5), (9, 1.5)]], pa.map_(pa.int64(), pa.float32())),
        "struct": pa.array([{"a": None, "b": [{"c": None}, None]}]),
        "decimal": pa.array([Decimal("1.50")]),
        "ns": pa.array([1715947200123456789], pa.timestamp("ns")),
        "time": pa.array([1001], pa.time64("ns")),
        "span": pa.array([1001], pa.duration("ns")),
        "word": pa.array(["x"]).dictionary_encode(),
        "big": pa.array([2**63 + 1], pa.uint64()),
        "bytes": pa.array([b"\0\xff"]),
        "bools": pa.array([[True, False]]),
        "none": pa.nulls(1),
    }
    put(pa.table(columns))
    assert rows() == [
        {
            "map": {3: 0.5, 9: 1.5},
            "struct": {"a": None, "b": [{"c": None}, None]},
            "decimal": Decimal("1.50"),
            "ns": moment,
            "time": dt.time(0, 0, 0, 1),
            "span": dt.timedelta(microseconds=1),
            "word": "x",
            "big": 2**63 + 1,
            "bytes": b"\0\xff",
            "bools": [True, False],
            "none": None,
        }
    ]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 3)])
def test_vectors_stay_arrays(kind: pa.DataType) -> None:
    """Lists of numbers are slices of the batch, not Python numbers; a row without a list has None."""
    vectors = [[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    put(pa.table({"v": pa.array(vectors, kind)}), row_group_size=3)
    found = [row["v"] for row in rows()]
    assert found[1] is None
    assert all(isinstance(found[place], np.ndarray) and found[place].dtype == np.float32 for place in (2, 3))
    assert [None if v is None else list(v) for v in found] == vectors


def test_slices_of_arrow_arrays() -> None:
    """A batch that begins in the middle of its buffers gives its own vectors."""
    kinds = [pa.list_(pa.int8()), pa.list_(pa.float16(), 2)]
    for kind in kinds:
        column = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int8())).cast(kind)
        batch = pa.RecordBatch.from_arrays([column], ["v"]).slice(1, 2)
        assert [list(row["v"]) for row in batches.batch_rows(batch) if isinstance(row, dict)] == [[3, 4], [5, 6]]


def test_a_list_with_a_null_stays_a_list() -> None:
    """An integer column would turn into floats: such a column is plain Python."""
    put(pa.table({"v": pa.array([[1, None], [2, 3]], pa.list_(pa.int64()))}))
    assert [row["v"] for row in rows()] == [[1, None], [2, 3]]


def test_arrays_enter_the_content_hash() -> None:
    """By type, shape and numbers: equal rows are equal, a changed number is not."""
    one, two = np.array([1, 2], dtype=np.float32), np.array([1, 3], dtype=np.float32)
    assert content_hash(None, {"v": one}) == content_hash(None, {"v": np.array([0, 1, 2], dtype=np.float32)[1:]})
    others = [two, one.astype(np.float64), one.reshape(1, 2)]
    assert len({content_hash(None, {"v": array}) for array in [one, *others]}) == 4


def test_a_value_that_python_cannot_hold_spoils_its_row_only() -> None:
    """A date after the year 9999, or text that is not UTF-8, is named; the rows around it are read."""
    text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    days = pa.array([1, 2, 10_000_000], pa.int32()).cast(pa.date32())
    put(pa.table({"t": text, "d": days}))
    good, bad_text, bad_date = rows()
    assert good == {"t": "a", "d": dt.date(1970, 1, 2)}
    assert bad_text.startswith("a.parquet, row 2: column `t`: string that Python cannot hold: 'utf-8' codec")
    assert bad_date.startswith("a.parquet, row 3: column `d`: date32[day] that Python cannot hold: ")


def test_a_value_that_is_too_long_is_rejected() -> None:
    """Over 10 MiB, as in every table."""
    put(pa.table({"id": ["a", "b", "c"], "t": ["x", "y" * 11_000_000, "z"]}))
    assert [row if isinstance(row, str) else row["t"] for row in rows(key="id")] == [
        "x",
        "a.parquet, row 2: column `t`: 11,000,000 long, over 10,485,760",
        "z",
    ]


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_without_a_key_is_rejected(value: str | None) -> None:
    """It is listed under its place and named so."""
    put(pa.table({"id": ["a", value]}))
    assert rows(key="id")[1].startswith("a.parquet, row 2: the key `id` wants text or a whole number")


def test_columns() -> None:
    """Only the columns asked for are read, and the key; one that is not there makes the file a gap."""
    put(pa.table({"id": ["a"], "n": [1], "x": [2]}))
    assert rows(key="id", columns=["n"]) == [{"n": 1, "id": "a"}]
    assert listed(columns=["y"]) == [Gap("a.parquet", "no column `y`; found: id, n, x")]
    put(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"]), "twice.parquet")
    assert listed("twice.parquet") == [Gap("twice.parquet", "the column `n` stands twice")]
    assert listed(key="k") == [Gap("a.parquet", "no column `k`; found: id, n, x")]


def damaged(name: str, group: int) -> None:
    """Flips bytes in the pages of one row group."""
    place = pq.ParquetFile(name).metadata.row_group(group).column(0)
    data = bytearray(Path(name).read_bytes())
    third = place.total_compressed_size // 3
    middle = slice(place.data_page_offset + third, place.data_page_offset + 2 * third)
    data[middle] = bytes(byte ^ 0xFF for byte in data[middle])
    Path(name).write_bytes(data)


@pytest.mark.parametrize("options", [{"compression": "none", "write_page_checksum": True}, *({"compression": c} for c in ("zstd", "gzip"))])
def test_a_damaged_row_group_is_a_gap(options: dict[str, Any]) -> None:
    """The groups around it are read, with the right numbers, and so are other files."""
    numbers = [f"{number * 7919 % 100_003:06d}" for number in range(30_000)]
    put(pa.table({"id": numbers}), row_group_size=10_000, use_dictionary=False, **options)
    put(pa.table({"id": ["last"]}), "b.parquet")
    damaged("a.parquet", 1)
    items = listed(["a.parquet", "b.parquet"], key="id")
    [gap] = [item for item in items if isinstance(item, Gap)]
    assert gap.where == "a.parquet"
    assert gap.reason.startswith("row group 1 (rows from 10001) cannot be read to its end: ")
    keys = [item.key for item in items if isinstance(item, Document)]
    assert keys[:10_000] == numbers[:10_000]
    assert keys[-10_001:] == [*numbers[20_000:], "last"]
    numbered = [item.key for item in listed() if isinstance(item, Document)]
    assert numbered[-10_000:] == [str(number) for number in range(20_001, 30_001)]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"id,n\na,1\n"])
def test_what_is_no_parquet_file_is_a_gap(data: bytes) -> None:
    """It is named, and the other files are read."""
    Path("a.parquet").write_bytes(data)
    put(pa.table({"id": ["b"]}), "b.parquet")
    gap, document = listed("*.parquet", key="id")
    assert isinstance(gap, Gap)
    assert gap.reason.startswith("is no readable Parquet file: ")
    assert isinstance(document, Document)
    assert document.key == "b"


def test_a_truncated_file_is_a_gap() -> None:
    """The footer stands at the end: without it nothing is known."""
    put(pa.table({"id": [str(number) for number in range(1000)]}))
    Path("a.parquet").write_bytes(Path("a.parquet").read_bytes()[:-100])
    [gap] = listed(key="id")
    assert isinstance(gap, Gap)
