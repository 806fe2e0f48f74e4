"""From an edited schema to a switched alias and back, by the commands, on Milvus Lite and on the server."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector import faults
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.plan.stamp import STAMP
from tests.milvus.tiers import TIERS
from tests.workfolder import JOB, SCHEMA, Folder

NEW_MODEL = SCHEMA.replace('dim=8, encoder="fake:fake"', 'dim=4, truncate_dim=4, encoder="fake:other"')


class Place(Folder):
    """A working folder whose job writes to Milvus Lite or to the server."""

    def __init__(self, root: Path, settings: MilvusSettings) -> None:
        super().__init__(root)
        self.settings = settings
        self.job = JOB.replace("{uri: notes.db}", block(settings))
        self.put("job.yaml", self.job)
        self.number = 0

    def write(self, count: int) -> None:
        """So many notes more."""
        for _ in range(count):
            self.number += 1
            self.put(f"notes/{self.number}.txt", f"note {self.number} says {self.number * 7}")

    def ok(self, *words: str) -> dict[str, Any]:
        """The JSON document of a command that succeeds."""
        code, out, err = self.call(*words, "--json")
        assert code == 0, out + err
        document: dict[str, Any] = json.loads(out)
        return document

    def refused(self, *words: str) -> str:
        """What a command says that is refused with exit code 6 and changes nothing."""
        before = self.state()
        code, out, err = self.call(*words)
        assert code == 6, out + err
        assert self.state() == before
        return err

    def state(self) -> Any:
        """Everything that Milvus has under the collection's name."""
        with connect(self.settings) as connection:
            return Catalog(connection).have("notes")

    @property
    def live(self) -> str | None:
        """Where the alias points."""
        target: str | None = self.state().alias_target
        return target

    def candidate(self, schema: str = "") -> None:
        """Three notes live; an edited schema, applied, not yet filled."""
        self.write(3)
        self.ok("run", "job.yaml")
        self.put("schema.py", schema or NEW_MODEL)
        self.ok("apply", "job.yaml", "--allow-replace")


def block(settings: MilvusSettings) -> str:
    """The job's `milvus:` block."""
    token = {"token": settings.token.get_secret_value()} if settings.token else {}
    database = {"database": settings.database} if settings.database else {}
    return json.dumps({"uri": settings.uri, **token, **database})


@pytest.fixture(params=TIERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Milvus Lite, or the server."""
    lite = request.param == "lite"
    return Place(tmp_path, MilvusSettings(uri=str(tmp_path / "notes.db")) if lite else request.getfixturevalue("database"))


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a command stop at a failpoint."""

    def at(place: Place, point: str, *words: str) -> None:
        monkeypatch.setattr(faults, "_hits", Counter())
        monkeypatch.setenv("CONNECTOR_FAILPOINT", f"{point}:1:raise")
        with pytest.raises(RuntimeError, match="failpoint"):
            place.call(*words)
        monkeypatch.delenv("CONNECTOR_FAILPOINT")

    return at


def test_a_new_model_from_plan_to_prune(place: Place) -> None:
    """The whole routine: what each step says and does, and who answers a search after it."""
    place.write(3)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    code, out, _ = place.call("plan", "job.yaml", "--json")
    document = json.loads(out)
    assert (code, document["changes"][0]["action"], document["changes"][0]["risk"]) == (10, "Replace", "replacement")
    assert document["changes"][0]["cost"].items() >= {"rows": 3, "encode": 3, "bytes": 3 * 16}.items()
    assert document["changes"][0]["cost"]["seconds"] > 0
    assert "--allow-replace" in place.refused("apply", "job.yaml")
    assert place.call("run", "job.yaml")[0] == 2
    place.ok("apply", "job.yaml", "--allow-replace")
    assert place.ok("plan", "job.yaml")["notes"] == [
        "pending promote: notes__g2 is what the code says, live is notes__g1: connector promote job.yaml"
    ]
    report = place.ok("run", "job.yaml")
    assert (report["collection"], report["encoded"], report["notes"][0][:15]) == ("notes__g2", 3, "pending promote")
    assert answer(place) == 8
    assert place.live == "notes__g1"
    done = place.ok("promote", "job.yaml")
    assert (done["before"], done["now"]) == ("notes__g1", "notes__g2")
    assert any("recall@10" in check and " 1.000 " in check for check in done["checks"])
    assert answer(place) == 4
    assert place.ok("promote", "job.yaml")["before"] == "notes__g2"
    begun = time.monotonic()
    assert place.ok("rollback", "job.yaml")["now"] == "notes__g1"
    assert time.monotonic() - begun < 5
    assert answer(place) == 8
    assert "nothing was live before notes__g1" in place.refused("rollback", "job.yaml")
    assert place.ok("promote", "job.yaml")["now"] == place.live == "notes__g2"
    assert "notes__g1, for good" in place.refused("prune", "job.yaml")
    assert place.ok("prune", "job.yaml", "--yes")["dropped"] == ["notes__g1"]
    assert "notes__g1, which was live before notes__g2, was dropped" in place.refused("rollback", "job.yaml")
    assert place.ok("prune", "job.yaml", "--yes")["dropped"] == []
    assert place.ok("run", "job.yaml")["counts"]["unchanged"] == 3


def answer(place: Place) -> int:
    """With how many numbers a search was made that finds the second note exactly."""
    [hit] = json.loads(place.call("search", "job.yaml", "note 2 says 14", "--limit", "1", "--json")[1])
    assert hit["distance"] == pytest.approx(1.0, abs=1e-4)
    with connect(place.settings) as connection:
        live = Catalog(connection).live("notes")
        assert live is not None
        return int(live.fields["vector"]["dim"])


def test_old_code_keeps_the_live_one_fresh_and_a_candidate_that_lags_is_refused(place: Place) -> None:
    """Two checkouts: the old one runs on, the new one is filled; what came to the live one later is missing, or newer, and is noticed."""
    place.candidate()
    place.put("old_schema.py", SCHEMA)
    place.put("old.yaml", place.job.replace("schema.py", "old_schema.py") + "state: old.db\n")
    assert "no run has filled notes__g2" in place.refused("promote", "job.yaml")
    place.ok("run", "job.yaml")
    time.sleep(1.1)
    place.write(2)
    assert place.ok("run", "old.yaml")["collection"] == "notes__g1"
    said = place.refused("promote", "job.yaml")
    assert "notes__g2 lags" in said
    assert "2 documents of the live generation are missing: 4.txt, 5.txt" in said
    assert place.ok("run", "job.yaml")["counts"]["written"] == 2
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"
    report = place.ok("run", "old.yaml")
    assert (report["collection"], report["notes"]) == (
        "notes__g1",
        ["notes__g1 was live before notes__g2, which was made by other code; it is kept in step, for a rollback"],
    )


def test_a_candidate_that_is_not_complete_is_refused(place: Place, cut: Any) -> None:
    """Filled in part, stopped in the middle, rows gone: each is told; documents that are missing may be allowed."""
    place.candidate()
    place.ok("run", "job.yaml", "--limit", "2")
    assert "no run has filled" in place.refused("promote", "job.yaml")
    place.ok("run", "job.yaml")
    place.write(1)
    cut(place, "sink.acknowledged", "run", "job.yaml")
    assert "ended with exit code 1" in place.refused("promote", "job.yaml")
    place.ok("run", "job.yaml")
    with connect(place.settings) as connection:
        connection.call("by hand", connection.client.delete, "notes__g2", filter='path == "1.txt"')
    assert "1 documents of the live generation are missing: 1.txt" in place.refused("promote", "job.yaml")
    assert place.ok("promote", "job.yaml", "--allow-missing")["now"] == "notes__g2"


def test_what_a_mirror_no_longer_has_need_not_be_there(place: Place) -> None:
    """A document that vanished from the source before the candidate was filled is missing for a good reason, but only from a mirror."""
    place.candidate()
    (place.root / "notes" / "2.txt").unlink()
    place.ok("run", "job.yaml")
    assert "missing: 2.txt" in place.refused("promote", "job.yaml")
    place.put("job.yaml", place.job + "sync: mirror\nstate: other.db\n")
    assert "missing: 2.txt" in place.refused("promote", "job.yaml"), "without a ledger it may as well have been rejected"
    place.ok("run", "job.yaml")
    assert place.ok("promote", "job.yaml")["now"] == "notes__g2"


@pytest.mark.parametrize("point", ["switch.noted", "switch.moved"])
def test_a_promote_that_was_interrupted_is_finished(place: Place, cut: Any, point: str) -> None:
    """The same command again: the alias is moved once, and can be moved back."""
    place.candidate()
    place.ok("run", "job.yaml")
    cut(place, point, "promote", "job.yaml")
    assert place.live == {"switch.noted": "notes__g1", "switch.moved": "notes__g2"}[point]
    assert place.ok("promote", "job.yaml")["now"] == place.live == "notes__g2"
    assert place.ok("rollback", "job.yaml")["now"] == place.live == "notes__g1"


def test_a_prune_that_was_interrupted_is_finished(place: Place, cut: Any) -> None:
    """Two old generations: one is dropped, then the other."""
    place.candidate()
    place.ok("run", "job.yaml")
    place.ok("promote", "job.yaml")
    place.put("schema.py", SCHEMA.replace("fake:fake", "fake:third"))
    place.ok("apply", "job.yaml", "--allow-replace")
    place.ok("run", "job.yaml")
    place.ok("promote", "job.yaml")
    cut(place, "prune.dropped", "prune", "job.yaml", "--yes")
    assert place.ok("prune", "job.yaml", "--yes")["dropped"] == ["notes__g2"]
    assert [one.name for one in place.state().generations] == [place.live] == ["notes__g3"]


@pytest.mark.parametrize("point", ["apply.created", "apply.indexed"])
def test_an_apply_that_was_interrupted_is_finished_with_its_saved_plan(place: Place, cut: Any, point: str) -> None:
    """What is left of the plan that was looked at is done; a plan for another state or other code is not."""
    place.write(2)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    assert place.call("plan", "job.yaml", "--out", "plan.json")[0] == 10
    assert "--allow-replace" in place.refused("apply", "job.yaml", "--plan", "plan.json"), "that it was looked at is no permission"
    cut(place, point, "apply", "job.yaml", "--plan", "plan.json", "--allow-replace")
    assert len(place.state().generations) == 2
    place.ok("apply", "job.yaml", "--plan", "plan.json", "--allow-replace")
    assert place.call("plan", "job.yaml")[0] == 0
    assert [one.name for one in place.state().generations] == ["notes__g1", "notes__g2"]


def test_a_stale_plan_is_refused(place: Place) -> None:
    """The code, or the live collection, is not what it was planned for."""
    place.write(1)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    place.call("plan", "job.yaml", "--out", "plan.json")
    place.put("schema.py", NEW_MODEL.replace("max_length=60", "max_length=70"))
    assert "other code" in place.refused("apply", "job.yaml", "--plan", "plan.json", "--allow-replace")
    place.put("schema.py", SCHEMA.replace("fake:fake", "fake:second"))
    place.ok("apply", "job.yaml", "--allow-replace")
    place.put("schema.py", NEW_MODEL)
    assert "changed since this plan was made" in place.refused("apply", "job.yaml", "--plan", "plan.json", "--allow-replace")


def test_what_may_lose_data_needs_its_own_word(place: Place) -> None:
    """A life time deletes rows; making it longer does not."""
    place.write(1)
    place.ok("run", "job.yaml")
    place.put("schema.py", SCHEMA.replace("(Collection)", '(Collection, properties={"collection.ttl.seconds": "360000"})'))
    assert "may lose data" in place.refused("apply", "job.yaml", "--allow-replace")
    place.ok("apply", "job.yaml", "--allow-data-loss")
    place.put("schema.py", SCHEMA)
    place.ok("apply", "job.yaml")
    assert place.call("plan", "job.yaml")[0] == 0
    assert place.ok("run", "job.yaml")["counts"]["unchanged"] == 1


def test_prune_never_drops_what_is_live_or_unknown(place: Place) -> None:
    """The live one, and names that are no generations."""
    place.candidate()
    assert "notes__g1 is live" in place.refused("prune", "job.yaml", "notes__g2", "notes__g1", "--yes")
    before = place.state()
    for name in ("notes__g9", "notes", "other"):
        assert place.call("prune", "job.yaml", name, "--yes")[0] == 2
    assert place.state() == before
    assert place.ok("prune", "job.yaml", "notes__g2", "--yes")["dropped"] == ["notes__g2"]


def test_nothing_to_promote_roll_back_or_prune(place: Place) -> None:
    """Before the first run, and with code that nothing was made by: exit 2, nothing changed."""
    for command in ("promote", "rollback", "prune"):
        assert place.call(command, "job.yaml")[0] == 2
    place.write(1)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    before = place.state()
    assert place.call("promote", "job.yaml")[0] == 2
    assert place.state() == before


def test_drift_is_said_by_a_run_and_mended_by_an_apply(place: Place) -> None:
    """Somebody set a life time by hand: the run goes on and says so; the plan has the step back."""
    place.write(1)
    place.ok("run", "job.yaml")
    with connect(place.settings) as connection:
        Catalog(connection).write("notes__g1", {"collection.ttl.seconds": "777777"})
    [note] = place.ok("run", "job.yaml")["notes"]
    assert "drift: notes__g1: collection: collection.ttl.seconds 777777 live, none in its stamp" in note
    assert place.call("plan", "job.yaml")[0] == 10
    place.ok("apply", "job.yaml")
    assert place.call("plan", "job.yaml")[0] == 0
    assert place.ok("run", "job.yaml")["notes"] == []


def test_a_collection_is_planned_without_a_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class and an address are enough to look; a job file says itself where Milvus is."""
    monkeypatch.setenv("MILVUS_URI", str(place.root / "other.db"))
    assert place.call("plan", "schema.py:Notes")[0] == 10
    assert place.call("apply", "schema.py:Notes", "--milvus", "another.db")[0] == 0
    assert place.call("plan", "schema.py:Notes", "--milvus", "another.db")[0] == 0
    assert place.call("plan", "schema.py:Notes")[0] == 10
    assert place.call("plan", "job.yaml", "--milvus", "another.db")[0] == 2


def test_a_schema_that_is_wrong_changes_nothing(place: Place) -> None:
    """A file that does not import is told with its line; two classes with one name are told with both."""
    place.write(1)
    place.ok("run", "job.yaml")
    before = place.state()
    place.put("schema.py", SCHEMA + "    oops = 1 / 0\n")
    code, _, err = place.call("apply", "job.yaml", "--allow-replace")
    assert (code, "schema.py, line 10: ZeroDivisionError" in err) == (2, True), err
    place.put("schema.py", SCHEMA + SCHEMA.replace("class Notes(Collection)", 'class Others(Collection, name="notes")'))
    code, _, err = place.call("apply", "job.yaml", "--allow-replace")
    assert (code, "`Notes` and `Others` are both the collection `notes`" in err) == (2, True), err
    assert place.state() == before


def test_a_name_that_is_taken_changes_nothing(place: Place) -> None:
    """Rule: where the alias would stand is a collection that somebody made, or it points to one: exit 2, told, and all stays as it is."""
    place.write(1)

    def by_hand(name: str) -> None:
        with connect(place.settings) as connection:
            connection.call("by hand", connection.client.create_collection, name, dimension=4)

    def there() -> list[str]:
        with connect(place.settings) as connection:
            return sorted(connection.call("by hand", connection.client.list_collections))

    by_hand("notes")
    for words in (("plan",), ("apply", "--allow-replace", "--allow-data-loss"), ("run",), ("promote",)):
        code, _, err = place.call(words[0], "job.yaml", *words[1:])
        assert (code, "`notes` is a collection of its own, so no alias can have this name" in err) == (2, True), err
    assert there() == ["notes"]
    with connect(place.settings) as connection:
        Catalog(connection).drop("notes")
    by_hand("others")
    with connect(place.settings) as connection:
        connection.call("by hand", connection.client.create_alias, "others", "notes")
    for words in (("plan",), ("apply", "--allow-replace", "--allow-data-loss"), ("run",), ("promote",)):
        code, _, err = place.call(words[0], "job.yaml", *words[1:])
        assert (code, "`notes` is an alias of `others`, which connector did not make" in err) == (2, True), err
    assert there() == ["others"]


def test_a_plan_of_a_released_collection_says_what_it_cannot_tell(place: Place) -> None:
    """Rule: rows that were not counted are no cost of nothing; the model's time is that of runs that encoded, however many did not."""
    place.write(2)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    if place.settings.lite:
        for _ in range(11):
            place.put("schema.py", SCHEMA)
            place.ok("run", "job.yaml")
        place.put("schema.py", NEW_MODEL)
        assert json.loads(place.call("plan", "job.yaml", "--json")[1])["changes"][0]["cost"]["seconds"] > 0
        return
    with connect(place.settings) as connection:
        connection.call("by hand", connection.client.release_collection, "notes__g1")
    document = json.loads(place.call("plan", "job.yaml", "--json")[1])
    assert document["changes"][0]["cost"] is None
    assert "notes__g1 is not loaded, so its rows were not counted and no step says what it costs" in document["notes"]


def test_from_python(place: Place) -> None:
    """The same five calls, for a job or a class."""
    import connector

    place.write(2)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    with pytest.raises(connector.ConnectorError, match="is not altered"):
        connector.apply_changes("job.yaml")
    assert [type(one).__name__ for one in connector.plan_changes("job.yaml").actions][:2] == ["Replace", "CreateCollection"]
    connector.apply_changes("job.yaml", allow_replace=True)
    connector.run("job.yaml")
    job = connector.Job.from_yaml("job.yaml")
    assert connector.promote(job).now == "notes__g2"
    where = json.loads(block(place.settings))
    assert connector.rollback("schema.py:Notes", milvus=where).now == "notes__g1"
    assert connector.promote(job).before == "notes__g1"
    assert connector.prune("schema.py:Notes", milvus=where, yes=True) == ("notes__g1",)


def test_a_bad_index_is_not_promoted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that finds too little is told with its recall; who knows better lifts it."""
    from connector.commands import examining

    place.candidate()
    place.ok("run", "job.yaml")
    monkeypatch.setattr(examining, "recall", lambda *_, **__: 0.5)
    assert "recall@10 of AUTOINDEX is 0.500" in place.refused("promote", "job.yaml")
    assert place.ok("promote", "job.yaml", "--min-recall", "0.4")["now"] == "notes__g2"


PROBED = NEW_MODEL.replace("truncate_dim=4", "truncate_dim=4, probed=True")


def tamper(place: Place, change: Any) -> None:
    """Changes the golden probe in the candidate's stamp."""
    with connect(place.settings) as connection:
        catalog = Catalog(connection)
        stamp = catalog.stamp("notes__g2")
        assert stamp is not None
        assert stamp.probe is not None
        probe = json.loads(json.dumps(stamp.probe))
        change(probe["vectors"]["vector"])
        catalog.write("notes__g2", {STAMP: replace(stamp, probe=probe).to_json()})


def turned(stamped: dict[str, Any]) -> None:
    """The last vector of the probe points the other way."""
    vectors = np.frombuffer(base64.b64decode(stamped["data"]), "<f4").copy()
    vectors[-4:] *= -1
    stamped["data"] = base64.b64encode(vectors.tobytes()).decode()


def shortened(stamped: dict[str, Any]) -> None:
    """The last vector of the probe is gone."""
    stamped["data"] = base64.b64encode(base64.b64decode(stamped["data"])[:-16]).decode()


def torn(stamped: dict[str, Any]) -> None:
    """The probe ends in the middle of a vector."""
    stamped["data"] = base64.b64encode(base64.b64decode(stamped["data"])[:-4]).decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turned, "field vector: the probe differs by 2.0e+00 (cosine -1.0000), wanted 1e-04 in fp32"),
        (shortened, "field vector: the probe gives (3, 4), stamped (2, 4)"),
        (torn, "the golden probe in the collection's stamp cannot be read"),
    ],
)
def test_a_candidate_whose_probe_does_not_agree_is_not_promoted(place: Place, change: Any, said: str) -> None:
    """Rule: what the encoder gives now is what the candidate was filled with, or the alias stays where it is; field, found and wanted."""
    place.candidate(PROBED)
    place.ok("run", "job.yaml")
    tamper(place, change)
    assert said in place.refused("promote", "job.yaml")
    assert place.live == "notes__g1"


def test_an_encoder_that_was_exchanged_under_its_name_is_not_promoted(place: Place) -> None:
    """Rule: other weights behind the same identity are seen by the probe; with the right ones back, the same candidate goes live."""
    place.candidate(PROBED)
    place.ok("run", "job.yaml")
    place.put("schema.py", PROBED.replace("probed=True", 'probed=True, seed="other weights"'))
    assert "fake:other is not what the collection was filled with: field vector" in place.refused("promote", "job.yaml")
    place.put("schema.py", PROBED)
    done = place.ok("promote", "job.yaml")
    assert (done["now"], done["checks"][-1]) == ("notes__g2", "vector: fake:other gives the golden probe's vectors")


def test_a_candidate_without_a_probe_says_so(place: Place) -> None:
    """Rule: what could not be compared is no reason to refuse, and is said: here the vectors are of a time before the probe."""
    place.candidate(PROBED)
    place.put("schema.py", NEW_MODEL)
    place.ok("run", "job.yaml")
    place.put("schema.py", PROBED)
    assert "vector: no golden probe is stamped, so its encoder was not compared" in place.ok("promote", "job.yaml")["checks"]


def test_a_torn_document_is_not_promoted(place: Place) -> None:
    """Rows of two versions, or fewer than there should be: the document is named."""
    place.candidate()
    place.ok("run", "job.yaml")
    with connect(place.settings) as connection:
        client = connection.client
        Catalog(connection).load("notes__g2")
        [row] = client.query("notes__g2", filter='path == "2.txt"', output_fields=["*"], consistency_level="Strong")
        twice = {**row, "connector_content": row["connector_content"][:-1] + "2"}
        connection.call("by hand", client.upsert, "notes__g2", [twice])
    assert "1 documents are not whole: 2.txt" in place.refused("promote", "job.yaml")


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Try again later, for every command; nothing to plan against is no empty plan."""
    gone = Place(tmp_path, MilvusSettings(uri="http://127.0.0.1:9"))
    gone.put("job.yaml", gone.job.replace('"http://127.0.0.1:9"', '"http://127.0.0.1:9", "retry_deadline": 0.5'))
    for words in (["plan"], ["apply"], ["copy"], ["promote"], ["rollback"], ["prune"]):
        code, _, err = gone.call(*words, "job.yaml")
        assert (code, "127.0.0.1:9" in err) == (4, True), err
