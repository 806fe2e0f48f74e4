"""What runs when, and that no job ever takes another one down: on a real Milvus Lite file, with transforms that crash and hang."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.ledger.file import LedgerFile
from connector.serve.service import Service
from connector.testing.encoders import COUNTS
from tests.serve.workplace import STEPS, Workplace, code, state, wait

Serving = Callable[..., Service]


def runs(name: str) -> list[int | None]:
    """Exit codes of a job's runs, newest first, as its ledger has them."""
    with LedgerFile(Path(".connector") / f"{name}.db", lock=False, read_only=True) as ledger:
        return [run["exit_code"] for run in ledger.runs()]


def test_bad_jobs_take_nobody_down(workplace: Workplace, serving: Serving) -> None:
    """One that ends the process, one that hangs and one whose file is broken: the good one runs, and each is named with what ails it."""
    workplace.job("crash", more="transform: steps:crash")
    workplace.job("hang", "every: 1h, hang_limit: 2s", more="transform: steps:wait")
    workplace.job("typo", "cron: '61 * * * *'")
    service = serving(patience=0.5, retry=0.1)
    wait(service, lambda: workplace.hangs and state(service, "hang")["state"] == "hung" and code(service, "crash"))
    workplace.job("good")
    wait(service, lambda: code(service, "good") == 0)
    assert (code(service, "crash"), state(service, "crash")["last"]["message"]) == (1, "SystemExit: a transform that ends the process")
    [broken] = service.document()["broken"]
    assert "typo.yaml: `schedule.cron`" in broken["problem"]
    assert "61" in broken["problem"]
    assert service.busy() == []
    workplace.job("typo")
    wait(service, lambda: code(service, "typo") == 0)
    (workplace.root / "go").touch()  # what hung comes back, and ends as it was asked to
    wait(service, lambda: code(service, "hang") == 4)
    assert "no sign of life" in state(service, "hang")["last"]["message"]
    assert runs("good") == [0]


def test_a_hung_job_gives_its_place_back(workplace: Workplace, serving: Serving) -> None:
    """With one place only, what waits behind a job that hangs is started once it is given up."""
    workplace.job("a-hang", "every: 1h, hang_limit: 2s, priority: 5", more="transform: steps:wait")
    workplace.job("b-good")
    service = serving(patience=0.2, places=1, retry=0.1)
    wait(service, lambda: workplace.hangs and state(service, "a-hang")["state"] == "hung")
    service.due("b-good")
    wait(service, lambda: code(service, "b-good") == 0)
    assert state(service, "a-hang")["state"] == "hung"


def test_highest_priority_first(workplace: Workplace, serving: Serving) -> None:
    """Of those that wait for a place, the most urgent is next; equals go in the order in which they were due."""
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 9)):
        workplace.job(name, f"every: 1h, priority: {priority}", more=f"transform: steps:note_{name}")
    workplace.put(
        "steps.py",
        STEPS
        + "".join(
            f"\ndef note_{n}(row):\n    with open('order', 'a') as file:\n        file.write('{n}')\n    return row\n" for n in "abcd"
        ),
    )
    workplace.job("0-first", more="transform: steps:wait")
    service = serving(places=1)
    wait(service, (workplace.root / "waiting").exists)
    assert [state(service, name)["state"] for name in "abcd"] == ["queued"] * 4
    (workplace.root / "go").touch()
    wait(service, lambda: not service.busy())
    assert (workplace.root / "order").read_text() == "ddbbaacc"


@pytest.mark.parametrize(("missed", "expected"), [("run", [0, 0]), ("skip", [0])])
def test_never_twice_at_a_time(workplace: Workplace, serving: Serving, missed: str, expected: list[int]) -> None:
    """However many starts come while a job runs, they make one further run, in whose windows all changes since stand together, or none."""
    workplace.job("slow", f"every: 1h, missed: {missed}", more="transform: steps:wait")
    service = serving()
    wait(service, (workplace.root / "waiting").exists)
    for number in range(5):
        workplace.put(f"notes/{number}.txt", f"note {number}")
        service.due("slow")
    (workplace.root / "go").touch()
    wait(service, lambda: not service.busy())
    assert runs("slow") == expected
    assert state(service, "slow")["last"]["rows"]["upserted"] == (5 if missed == "run" else 2)


def test_a_run_that_could_not_finish_is_tried_again_soon(workplace: Workplace, serving: Serving) -> None:
    """When Milvus is away, or another process holds the lock, the job does not wait for its next hour."""
    workplace.job("notes")
    with LedgerFile(Path(".connector/notes.db")):
        service = serving(retry=0.2)
        wait(service, lambda: state(service, "notes")["tries"] >= 2)
        assert code(service, "notes") in {5, None}
    wait(service, lambda: code(service, "notes") == 0)
    assert state(service, "notes")["tries"] == 0


def test_changed_files_count(workplace: Workplace, serving: Serving) -> None:
    """Added, changed, renamed and removed files take effect; a run under way finishes with its old file."""
    service = serving()
    path = workplace.job("one", more="transform: steps:wait")
    wait(service, (workplace.root / "waiting").exists)
    workplace.job("one", "every: 2h", more="transform: steps:plain")
    wait(service, lambda: state(service, "one")["schedule"] == "every 2 h 0 min")
    assert state(service, "one")["state"] == "running"
    (workplace.root / "go").touch()
    wait(service, lambda: code(service, "one") == 0)
    workplace.job("two", None, file="one")
    wait(service, lambda: state(service, "two"))
    assert (state(service, "one"), state(service, "two")["state"]) == ({}, "unscheduled")
    path.unlink()
    wait(service, lambda: not state(service, "two"))


def test_a_file_that_vanishes_while_its_job_runs(workplace: Workplace, serving: Serving) -> None:
    """The run comes to its end, and is the last; the file comes back, and so does the job."""
    path = workplace.job("one", more="transform: steps:wait")
    service = serving()
    wait(service, (workplace.root / "waiting").exists)
    content = path.read_text()
    path.unlink()
    wait(service, lambda: service.document()["jobs"][0]["next_run"] is None)
    (workplace.root / "go").touch()
    wait(service, lambda: not state(service, "one"))
    assert runs("one") == [0]
    workplace.put("jobs/one.yaml", content)
    wait(service, lambda: state(service, "one"))


def test_two_jobs_of_one_name(workplace: Workplace, serving: Serving) -> None:
    """They would share a ledger: the one that was there stays, the other is refused with both files' names, until the first goes."""
    first = workplace.job("twin", file="b")
    service = serving()
    workplace.job("twin", file="a")
    wait(service, lambda: service.document()["broken"])
    [refused] = service.document()["broken"]
    assert refused["file"].endswith("a.yaml")
    assert "b.yaml" in refused["problem"]
    first.unlink()
    wait(service, lambda: state(service, "twin").get("file", "").endswith("a.yaml"))
    assert service.document()["broken"] == []


def test_a_stop_ends_runs_at_a_safe_place(workplace: Workplace, serving: Serving) -> None:
    """Every run is asked, ends with exit code 143 in its ledger, and nothing is started any more."""
    workplace.job("slow", more="transform: steps:wait")
    service = serving()
    wait(service, (workplace.root / "waiting").exists)
    service.stop()
    (workplace.root / "go").touch()
    wait(service, lambda: not service.alive())
    assert runs("slow") == [143]
    service.due("slow")
    assert service.alive() == []


def test_a_time_limit_ends_a_run_cleanly(workplace: Workplace, serving: Serving) -> None:
    """`time_limit` is that of `run --time-limit`: exit code 4, and the next run goes on."""
    workplace.job("long", "every: 1h, time_limit: 0.01s")
    service = serving(retry=3600)
    wait(service, lambda: code(service, "long") == 4)
    assert "time limit" in state(service, "long")["last"]["message"]


def test_code_that_changed_is_used(workplace: Workplace, serving: Serving) -> None:
    """A transform that is edited while the process lives works in the next run as in a new process, and so do modules behind it."""
    workplace.put("steps.py", "import words\n\ndef add(row):\n    return row | {'text': words.WORD}\n")
    workplace.put("words.py", "WORD = 'first'\n")
    workplace.job("notes", more="transform: steps:add")
    service = serving()
    wait(service, lambda: code(service, "notes") == 0)
    workplace.put("words.py", "WORD = 'second version'\n")
    workplace.put("notes/c.txt", "a third note")
    service.due("notes")
    wait(service, lambda: not service.busy())
    from connector.milvus.client import connect
    from connector.milvus.settings import MilvusSettings

    with connect(MilvusSettings(uri="notes.db")) as connection:
        connection.client.load_collection("notes__g1")
        rows = connection.client.query("notes__g1", filter="path == 'c.txt'", output_fields=["text"], consistency_level="Strong")
    assert [row["text"] for row in rows] == ["second version"]


def test_jobs_share_loaded_models(workplace: Workplace, serving: Serving) -> None:
    """Two jobs with one encoder, and every run of both, load it once."""
    COUNTS.clear()
    workplace.job("one")
    workplace.job("two")
    service = serving()
    wait(service, lambda: code(service, "one") == 0 and code(service, "two") == 0)
    workplace.put("notes/c.txt", "new")
    service.due("one")
    wait(service, lambda: not service.busy())
    assert (COUNTS["opened"], COUNTS["items"]) == (1, 5)
    assert service.document()["models"] == ["fake:fake"]
