"""The command line on a real Milvus Lite file: results, exit codes, and what a user is told when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import pytest

from connector import registry
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.workfolder import JOB, SCHEMA, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A fresh one."""
    return Folder(tmp_path)


def test_plan_apply_run_search_status(folder: Folder) -> None:
    """The way of a newcomer: plan says 10, apply makes it, plan says 0, run fills it, search finds, status tells."""
    folder.put("notes/a.txt", "about tea")
    folder.put("notes/b.md", "# Coffee\n\nabout coffee")
    code, out, _ = folder.call("plan", "job.yaml")
    assert (code, "+ create collection notes__g1" in out) == (10, True)
    assert folder.call("apply", "job.yaml")[0] == 0
    assert folder.call("plan", "job.yaml")[:2] == (0, "no changes: the live collection is what the code says\n")
    assert folder.call("check", "job.yaml")[0] == 0
    code, report, _ = folder.run()
    assert (code, report["exit_code"], report["counts"]["written"], report["rows"]["upserted"]) == (0, 0, 2, 2)
    assert set(report) >= {"run_id", "job", "collection", "exit_code", "counts", "rows", "seconds", "startup_s", "stations"}
    code, out, _ = folder.call("search", "job.yaml", "about tea", "--json", "--limit", "1")
    [hit] = json.loads(out)
    assert (code, hit["fields"]["path"], round(hit["distance"], 3)) == (0, "a.txt", 1.0)
    code, out, _ = folder.call("search", "job.yaml", "--like", hit["id"], "--json")
    assert json.loads(out)[0]["id"] == hit["id"]
    code, out, _ = folder.call("status", "job.yaml", "--json")
    assert [run["exit_code"] for run in json.loads(out)["runs"]] == [0]
    assert folder.run()[1]["counts"]["unchanged"] == 2


def test_plugins(folder: Folder) -> None:
    """Everything registered is listed, and nothing of it is broken."""
    found = json.loads(folder.call("plugins", "--json")[1])
    assert "files" in found["sources"]
    assert found["missing"] == {}


def test_plugin_whose_package_is_missing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that does not import is listed, with the line that installs what it needs; the command itself succeeds."""
    point = EntryPoint("tape", "no_such_package_here.tape:Tape", "connector.sources")
    monkeypatch.setattr(registry, "points", lambda group: [point] if group == "sources" else [])
    monkeypatch.setattr(registry, "names", lambda group: [one.name for one in registry.points(group)])
    code, out, _ = folder.call("plugins")
    assert code == 0
    assert "sources: tape" in out
    assert "missing: tape: the source `tape` needs the module `no_such_package_here`" in out
    assert "pip install no_such_package_here" in out


def test_version(folder: Folder) -> None:
    """The version is that of the installed package."""
    assert folder.call("--version") == (0, f"connector {version('connector')}\n", "")


def test_milvus_of_the_environment(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job without `milvus:` takes MILVUS_URI and MILVUS_TOKEN; without them it says so."""
    folder.put("job.yaml", JOB.replace("milvus: {uri: notes.db}\n", ""))
    folder.put("notes/a.txt", "a")
    code, _, err = folder.run()
    assert (code, "where is Milvus?" in err, "MILVUS_URI" in err) == (2, True, True)
    monkeypatch.setenv("MILVUS_URI", "environment.db")
    monkeypatch.setenv("MILVUS_TOKEN", "")
    assert folder.run()[0] == 0
    assert (folder.root / "environment.db").exists()


def test_a_file_in_the_environment(folder: Folder) -> None:
    """MILVUS_URI may be the path of a Milvus Lite file; pymilvus refuses that when it is imported, so only a new process shows it."""
    folder.put("job.yaml", JOB.replace("milvus: {uri: notes.db}\n", ""))
    folder.put("notes/a.txt", "a")
    environment = {**os.environ, "MILVUS_URI": "environment.db"}
    command = [sys.executable, "-c", "from connector.cli import main; main()", "run", "job.yaml", "--json"]
    done = subprocess.run(command, env=environment, cwd=folder.root, capture_output=True, text=True, check=False, timeout=120)
    other = [line for line in done.stderr.splitlines() if not line.startswith("notes: ")]  # a busy machine may see a line of progress
    assert (done.returncode, other) == (0, [])
    assert json.loads(done.stdout)["counts"]["written"] == 1


def test_wait_for_index(folder: Folder) -> None:
    """With `wait_for_index` the report says, by field, how much of the collection is indexed."""
    folder.put("job.yaml", JOB.replace("uri: notes.db", "uri: notes.db, wait_for_index: true"))
    folder.put("notes/a.txt", "a")
    code, report, _ = folder.run()
    assert code == 0
    assert set(report["index"]) == {"vector"}
    done, _, total = report["index"]["vector"].partition("/")
    assert done == total


def test_missing_path(folder: Folder) -> None:
    """A folder that is not there is not an empty one."""
    folder.put("job.yaml", JOB.replace("root: notes", "root: nots"))
    code, document, err = folder.run()
    assert code == 2
    assert "nots" in err
    assert document["exit_code"] == 2


def test_empty_folder(folder: Folder) -> None:
    """Nothing to do is success."""
    code, report, _ = folder.run()
    assert (code, report["counts"]["listed"]) == (0, 0)


def test_unreadable_folder_is_a_gap(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be listed is said, ends in exit code 3, and nothing below it is swept."""
    folder.put("job.yaml", JOB + "sync: mirror\n")
    (folder.root / "notes" / "deep").mkdir()
    folder.put("notes/a.txt", "a")
    folder.put("notes/deep/b.txt", "b")
    assert folder.run()[0] == 0
    listed = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, report, _ = folder.run()
    assert (code, len(report["gaps"]), report["counts"]["deleted"]) == (3, 1, 0)
    assert "deep" in report["gaps"][0]


def test_bad_files_are_named_and_the_rest_lands(folder: Folder) -> None:
    """Bytes that are no text, HTML without text, a file without a parser: each has its place in the report."""
    folder.put("notes/good.txt", "good")
    folder.put("notes/noise.txt", bytes(range(128, 256)) * 20)
    folder.put("notes/blank.html", "<html><script>only script</script></html>")
    folder.put("notes/picture.png", b"\x89PNG\r\n\x1a\n")
    code, report, _ = folder.run()
    assert code == 3
    assert report["counts"] == {"listed": 4, "unchanged": 0, "written": 1, "empty": 1, "rejected": 2, "deferred": 0, "deleted": 0}
    assert [line.split(":")[0] for line in report["rejects"]] == ["noise.txt", "picture.png"]


def test_threshold_decides(folder: Folder) -> None:
    """Rejects under the threshold are success, and still counted."""
    folder.put("job.yaml", JOB + "rejects: {fail_over: 50%}\n")
    folder.put("notes/good.txt", "good")
    folder.put("notes/noise.txt", b"\x00\x01")
    code, report, _ = folder.run()
    assert (code, report["counts"]["rejected"]) == (0, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("sync: ", "snyc: "), "did you mean `sync`"),
        (("root: notes", "rot: notes"), "did you mean `root`"),
        (("uri: notes.db", "url: notes.db"), "did you mean `uri`"),
        (("kind: files", "kind: file"), "did you mean `files`"),
        (("job: notes", "job: notes\njob: again"), "`job` stands twice"),
        (("uri: notes.db", 'uri: "${env:NOT_SET_HERE}"'), "line 6: the environment variable `NOT_SET_HERE` is not set"),
        (("schema.py:Notes", "schema.py:Note"), "did you mean `Notes`"),
        (("schema.py:Notes", "nowhere.py:Notes"), "nowhere.py: no such file"),
    ],
)
def test_mistakes_in_a_job(folder: Folder, change: tuple[str, str], said: str) -> None:
    """A mistake costs nothing: exit 2, what was meant, nothing created."""
    folder.put("job.yaml", (JOB + "sync: upsert\n").replace(*change))
    code, document, err = folder.run()
    assert code == 2
    assert said in err
    assert document["message"]
    assert not (folder.root / "notes.db").exists()


def test_wrong_dimension_is_found_before_anything_is_made(folder: Folder) -> None:
    """The encoder's dimension is known without its weights."""
    folder.put("schema.py", SCHEMA.replace("dim=8", "dim=9"))
    folder.put("notes/a.txt", "a")
    code, _, err = folder.run()
    assert (code, "Notes.vector wants dim 9" in err, "set dim=8" in err) == (2, True, True)
    assert not (folder.root / "notes.db").exists()


def test_model_folder_without_weights(folder: Folder) -> None:
    """A model that cannot be loaded is refused before anything is made."""
    (folder.root / "model").mkdir()
    folder.put("model/config.json", '{"model_type": "bert", "hidden_size": 8}')
    folder.put("schema.py", SCHEMA.replace("fake:fake", "transformers:./model"))
    code, _, err = folder.run()
    assert code == 2
    assert "model" in err
    assert not (folder.root / "notes.db").exists()


def test_changed_schema_is_refused_by_name(folder: Folder) -> None:
    """Code and live collection differ: exit 2 and what differs; nothing is written; plan says it too."""
    folder.put("notes/a.txt", "a")
    assert folder.run()[0] == 0
    folder.put("schema.py", SCHEMA.replace("fake:fake", "fake:other").replace("max_length=60", "max_length=70"))
    code, document, err = folder.run()
    assert (code, document["error"]) == (2, "PlanNeeded")
    assert "path: max_length 60 live, 70 in code" in err
    assert "vector: encoder model.model fake live, other in code" in err
    assert folder.call("plan", "job.yaml")[0] == 10
    code, out, _ = folder.call("search", "job.yaml", "a")
    assert (code, out.splitlines()[0][:5]) == (0, "1.000"), "a search takes the encoder of the live collection"


def test_server_that_is_not_there(folder: Folder) -> None:
    """An unreachable server: try again later, and what to look at."""
    folder.put("job.yaml", JOB.replace("uri: notes.db", "uri: http://127.0.0.1:9, retry_deadline: 0.5"))
    code, _, err = folder.run()
    assert code == 4
    assert "127.0.0.1:9" in err


def test_lite_file_in_use_by_another_process(folder: Folder) -> None:
    """Milvus Lite takes one process; the message says so."""
    folder.put("notes/a.txt", "a")
    with connect(MilvusSettings(uri="notes.db")):
        command = [sys.executable, "-c", "from connector.cli import main; main()", "run", "job.yaml"]
        done = subprocess.run(command, cwd=folder.root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5, done.stderr
    assert "another process" in done.stderr


def test_dropped_collection_is_noticed(folder: Folder) -> None:
    """A collection that was dropped behind our back is filled again, never "0 changed"."""
    folder.put("notes/a.txt", "a")
    assert folder.run()[0] == 0
    with connect(MilvusSettings(uri="notes.db")) as connection:
        connection.client.drop_alias("notes")
        connection.client.drop_collection("notes__g1")
    _, report, _ = folder.run()
    assert report["counts"]["written"] == 1


def test_lost_ledger_costs_no_encoding(folder: Folder) -> None:
    """A container that lost its disk reads everything again and encodes nothing."""
    for number in range(5):
        folder.put(f"notes/{number}.txt", f"note {number}")
    assert folder.run()[1]["encoded"] == 5
    for path in (folder.root / ".connector").iterdir():
        path.unlink()
    _, report, _ = folder.run()
    assert (report["encoded"], report["counts"]["unchanged"]) == (0, 5)
