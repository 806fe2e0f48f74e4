"""`connector check`: ten documents go the whole way, nothing is written, and what a row would look like is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.commands.keeping import shortened
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.workfolder import JOB, SCHEMA, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Twelve good files."""
    made = Folder(tmp_path)
    for number in range(12):
        made.put(f"notes/{number:02}.txt", f"note {number}")
    return made


def check(folder: Folder) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON document, stderr) of `check`."""
    code, out, err = folder.call("check", "job.yaml", "--json")
    return code, json.loads(out), err


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its time and size, but for caches."""
    files = (path for path in root.rglob("*") if path.is_file() and "cache" not in str(path.relative_to(root)))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def test_ten_documents_are_tried_and_nothing_is_written(folder: Folder) -> None:
    """No ledger, no collection, not even the Milvus Lite file."""
    before = everything(folder.root)
    code, document, _ = check(folder)
    assert (code, document["counts"]["listed"], document["counts"]["written"], document["rows"]) == (0, 10, 10, 10)
    assert document["changes"][0] == "+ create collection notes__g1"
    assert everything(folder.root) == before


def test_nothing_is_written_to_what_exists(folder: Folder) -> None:
    """A collection and a ledger that exist stay as they are, although every document is tried again."""
    assert folder.run()[0] == 0
    before = everything(folder.root)
    code, document, _ = check(folder)
    assert (code, document["changes"], document["counts"]["written"]) == (0, [], 10)
    assert everything(folder.root) == before


def test_the_first_row_is_shown(folder: Folder) -> None:
    """As it would be written, its vector shortened; with the server, its version, and what identifies the encoder."""
    _, document, _ = check(folder)
    assert (document["first"]["path"], document["first"]["text"]) == ("00.txt", "note 0")
    assert document["first"]["vector"].endswith("... 8 numbers]")
    assert document["server"].startswith("Milvus Lite 3")
    assert document["encoders"]["vector"]["model"]["kind"] == "fake"
    text = folder.call("check", "job.yaml")[1]
    assert "    text: note 0\n" in text
    assert "connector_key" not in text
    assert "pooling mean" in text


def test_a_rejected_document_fails_the_check(folder: Folder) -> None:
    """Its reason is shown and the exit code is 3, whatever the job tolerates."""
    folder.put("job.yaml", JOB + "rejects: {fail_over: 50%}\n")
    folder.put("notes/00.txt", b"\x00\x01")
    code, document, err = check(folder)
    assert (code, document["counts"]["rejected"], document["first"]["path"]) == (3, 1, "01.txt")
    assert "00.txt: binary" in document["rejects"][0]
    assert "1 of 10 documents would be rejected" in err


def test_an_empty_source(tmp_path: Path) -> None:
    """Nothing to try is no failure, and is said."""
    code, out, _ = Folder(tmp_path).call("check", "job.yaml")
    assert (code, "no row to show" in out) == (0, True)


def test_another_schema_is_told_not_refused(folder: Folder) -> None:
    """`check` tries the code as it is and says how the collection differs."""
    assert folder.run()[0] == 0
    folder.put("schema.py", SCHEMA.replace("max_length=60", "max_length=70"))
    code, document, _ = check(folder)
    assert code == 0
    assert "path: max_length 60 live, 70 in code" in document["changes"][0]


def test_text_longer_than_the_model_reads(folder: Folder) -> None:
    """Inputs that would be cut off are counted."""
    folder.put("schema.py", SCHEMA.replace('encoder="fake:fake"', 'encoder="fake:fake", max_tokens=1'))
    folder.put("job.yaml", JOB + "split: {by: none}\n")
    assert check(folder)[1]["truncated"] == 10
    assert "truncated: 10 inputs" in folder.call("check", "job.yaml")[1]


def test_a_folder_that_is_missing_for_the_lite_file(folder: Folder) -> None:
    """A run could not make the file either."""
    folder.put("job.yaml", JOB.replace("uri: notes.db", "uri: nowhere/notes.db"))
    code, _, err = check(folder)
    assert (code, "nowhere does not exist" in err) == (2, True)


def test_a_lite_file_in_use_is_said(folder: Folder) -> None:
    """An open collection of the same process is only looked at."""
    assert folder.run()[0] == 0
    with connect(MilvusSettings(uri="notes.db")) as connection:
        assert check(folder)[0] == 0
        assert connection.client.list_collections() == ["notes__g1"]


def test_vectors_are_shortened() -> None:
    """Dense vectors by their first numbers, sparse ones by their first weights."""
    assert shortened(np.arange(6, dtype=np.float32)) == "[0, 1, 2, 3, ... 6 numbers]"
    assert shortened({7: 0.5, 9: 0.25}) == "{7: 0.5, 9: 0.25, ... 2 weights}"
