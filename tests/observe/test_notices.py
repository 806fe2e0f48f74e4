"""People hear of a run that failed, had too many rejects, or went well again: once, briefly, and without the webhook showing anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.commands.running import run_job
from connector.errors import ConfigError, ConnectorError, Locked
from connector.stations import Options
from connector.testing import milvus_faults as faults
from connector.testing.faulty_milvus import FaultyMilvus
from tests.observe.listener import Listener
from tests.observe.shop import job_of, rows
from tests.workfolder import Folder

SECRET = "services/Geheim/T0/B0"  # noqa: S105 - none


def told(listener: Listener) -> list[dict[str, Any]]:
    """What the webhook was sent."""
    assert {(sent.method, sent.path, sent.headers["Content-Type"]) for sent in listener.sent} <= {
        ("POST", f"/{SECRET}", "application/json")
    }
    return [json.loads(sent.body) for sent in listener.sent]


def hook(listener: Listener, *on: str) -> dict[str, Any]:
    """The block of a job."""
    return {"webhook": f"{listener.url}/{SECRET}", **({"on": list(on)} if on else {})}


def test_a_failure_and_the_recovery(milvus: FaultyMilvus, listener: Listener) -> None:
    """Good runs say nothing; a failure is told, the first good run after it too, the next one not."""
    job = job_of(rows(), milvus, notify=hook(listener))
    run_job(job)
    assert told(listener) == []
    milvus.faults += [faults.unreachable(None, method="*")]
    with pytest.raises(ConnectorError):
        run_job(job)
    milvus.faults.clear()
    report = run_job(job)
    run_job(job)
    failure, recovery = told(listener)
    assert (failure["event"], failure["exit_code"], failure["outcome"], failure["job"]) == ("failure", 4, "failed", "shop")
    assert failure["text"].startswith("connector job shop failed with exit code 4: Milvus at http://127.0.0.1")
    assert (recovery["event"], recovery["run"], recovery["counts"]["unchanged"]) == ("recovery", report.run_id, 25)
    assert "went well again" in recovery["text"]
    assert report.recovered


def test_a_failure_in_the_middle_of_a_run(milvus: FaultyMilvus, listener: Listener) -> None:
    """What was written by then is told with it."""
    milvus.faults += [faults.unreachable(None, skip=1)]
    with pytest.raises(ConnectorError):
        run_job(job_of(rows(), milvus, notify=hook(listener)))
    [failure] = told(listener)
    assert (failure["collection"], failure["rows"]["upserted"], failure["counts"]["deferred"]) == ("shop__g1", 10, 15)


def test_rejects(milvus: FaultyMilvus, listener: Listener) -> None:
    """Over the threshold it is told, within it is not; mended, it is a recovery."""
    run_job(job_of(rows(25, 1), milvus, notify=hook(listener), rejects={"fail_over": 1}))
    assert told(listener) == []
    run_job(job_of(rows(25, 1, 2), milvus, notify=hook(listener), rejects={"fail_over": 1}))
    run_job(job_of(rows(25), milvus, notify=hook(listener), rejects={"fail_over": 1}))
    rejects, recovery = told(listener)
    assert (rejects["event"], rejects["counts"]["rejected"], rejects["exit_code"]) == ("rejects", 2, 3)
    assert "2 of 25 documents were rejected, 1 are tolerated" in rejects["text"]
    assert recovery["event"] == "recovery"


def test_only_what_is_asked_for(milvus: FaultyMilvus, listener: Listener) -> None:
    """`on` says of what."""
    run_job(job_of(rows(25, 1), milvus, notify=hook(listener, "failure", "recovery")))
    assert told(listener) == []
    run_job(job_of(rows(25), milvus, notify=hook(listener, "failure", "recovery")))
    assert [one["event"] for one in told(listener)] == ["recovery"]


def test_a_run_that_stops_by_its_own_limit_is_no_failure(milvus: FaultyMilvus, listener: Listener) -> None:
    """Neither is it told, nor does the good run after it recover from anything."""
    job = job_of(rows(), milvus, notify=hook(listener))
    with pytest.raises(ConnectorError) as caught:
        run_job(job, Options(time_limit=0.000001))
    assert caught.value.report.outcome == "stopped"  # type: ignore[attr-defined]  # every run leaves one
    assert not run_job(job).recovered
    assert told(listener) == []


def test_a_run_that_another_one_locks_out_is_no_failure(milvus: FaultyMilvus, listener: Listener) -> None:
    """The other one is at work, and will tell what there is to tell."""
    from connector.ledger import Ledger

    job = job_of(rows(), milvus, notify=hook(listener))
    with Ledger(job.state_path), pytest.raises(Locked) as caught:
        run_job(job)
    assert caught.value.report.outcome == "locked"  # type: ignore[attr-defined]  # every run leaves one
    assert told(listener) == []


def test_failures_do_not_fill_the_ledger(milvus: FaultyMilvus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Milvus that stays away for days the latest attempts are kept; they are in `status`, and the next run recovers from them."""
    from connector.ledger import Ledger
    from connector.ledger import file as ledger_file

    monkeypatch.setattr(ledger_file, "KEPT_RUNS", 2)
    job = job_of(rows(3), milvus)
    run_job(job)
    with Ledger(job.state_path) as ledger:
        for number in range(5):
            ledger.finish(f"failed {number}", 4, '{"job": "shop", "outcome": "failed"}')
        assert [run["id"] for run in ledger.runs()][:2] == ["failed 4", "failed 3"]
        assert len(ledger.runs()) == 3
        assert ledger.good_run("shop") is not None
    assert run_job(job).recovered


def test_a_run_that_was_killed_is_recovered_from(milvus: FaultyMilvus, listener: Listener) -> None:
    """Nothing could be told of it then; the next good run says that all is well."""
    from connector.ledger import Ledger

    job = job_of(rows(), milvus, notify=hook(listener))
    run_job(job)
    with Ledger(job.state_path) as ledger:
        ledger.enter("shop", "x", "f", {})
        ledger.start("killed")
    assert run_job(job).recovered
    assert [one["event"] for one in told(listener)] == ["recovery"]


def test_it_is_tried_twice(milvus: FaultyMilvus, listener: Listener) -> None:
    """A webhook that stumbles is asked once more, one that refuses is not; a redirect is not followed, since it leads elsewhere."""
    job = job_of(rows(25, 1), milvus, notify=hook(listener))
    for statuses, requests, note in (
        ([503, 200], 2, None),
        ([500, 500], 2, "nobody was notified: 127.0.0.1: status 500"),
        ([404], 1, "nobody was notified: 127.0.0.1: status 404"),
        ([302], 1, "nobody was notified: 127.0.0.1: status 302"),
    ):
        listener.sent.clear()
        listener.statuses[:] = statuses
        report = run_job(job)
        assert (len(listener.sent), report.exit_code, report.notes) == (requests, 3, [note] if note else [])


def test_nobody_there(tmp_path: Path) -> None:
    """On the command line an unreachable webhook is a note, also of a run that failed early; its URL is nowhere, not even in the log."""
    folder = Folder(tmp_path)
    folder.put("notes/a.txt", "words")
    job = (tmp_path / "job.yaml").read_text()
    notify = f'notify: {{webhook: "http://127.0.0.1:9/{SECRET}", on: [failure, rejects, recovery]}}\n'
    folder.put("job.yaml", job.replace("notes.db", "missing/notes.db") + notify)
    code, out, err = folder.call("--log-level", "debug", "run", "job.yaml")
    assert (code, out) == (2, "")
    assert "note: nobody was notified: 127.0.0.1: ConnectionRefusedError" in err
    folder.put("job.yaml", job + notify)
    code, document, err = folder.run()
    assert (code, document["recovered"], document["notes"]) == (0, True, ["nobody was notified: 127.0.0.1: ConnectionRefusedError"])
    assert "Geheim" not in err


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"webhook": f"http://hooks.example.com/{SECRET}"}, "unencrypted to another machine"),
        ({"webhook": f"ftp://hooks.example.com/{SECRET}"}, "no URL that begins with https"),
        ({"webhook": f"https://me:Geheim@hooks.example.com/{SECRET}"}, "holds credentials"),
        ({"webhook": "https://hooks.example.com/Geheim", "on": ["everything"]}, "notify.on"),
        ({"webhook": "https://hooks.example.com/Geheim", "on": []}, "notify.on"),
        ({"webhook": "https://hooks.example.com/Geheim", "onn": ["failure"]}, "did you mean `on`"),
    ],
)
def test_settings_that_are_wrong(given: dict[str, Any], reason: str) -> None:
    """They are told before the run, and the URL is not."""
    with pytest.raises(ConfigError, match=reason) as caught:
        job_of(rows(), "x.db", notify=given)
    assert "Geheim" not in str(caught.value)


def test_what_is_allowed() -> None:
    """Encrypted anywhere; plain on this machine, or where the job says so. The URL is not in the job's text either."""
    for webhook, more in (
        ("https://hooks.example.com/Geheim", {}),
        ("http://localhost:1/Geheim", {}),
        ("http://hooks.example.com/Geheim", {"allow_http": True}),
    ):
        job = job_of(rows(), "x.db", notify={"webhook": webhook, **more})
        assert "Geheim" not in repr(job)
        assert job.secrets == [webhook]
