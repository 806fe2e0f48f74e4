"""Searches every 50 ms while a new model is filled, promoted, rolled back, promoted, and an index rebuilt: no error, nothing mixed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import connector
from connector.testing.encoders import fake_vector
from tests.commands.test_switching import NEW_MODEL, Place, block, place
from tests.milvus.tiers import TIERS
from tests.workfolder import SCHEMA

__all__ = ["place"]

QUERY, NOTES, SHOWN = "note 2 says 14", 30, 5
PAUSE = 0.05


@dataclass
class Loop:
    """Searches until it is told to stop, and counts by what the answers show.

    Attributes:
        job: With the code of one deployment.
        known: Name of a model to the answer that it must give.
        seen: Answers by model.
        mixed: Any other answer.
        errors: What was raised.
        slowest: Seconds of the slowest search.
    """

    job: Any
    known: dict[str, list[tuple[str, float]]]
    seen: Counter[str] = field(default_factory=Counter)
    mixed: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """The loop."""
        while not self.stop.wait(PAUSE):
            begun = time.monotonic()
            try:
                hits = connector.search(self.job, QUERY, limit=SHOWN)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            self.slowest = max(self.slowest, time.monotonic() - begun)
            found = [(str(hit.fields["path"]), hit.distance) for hit in hits]
            model = next((name for name, answer in self.known.items() if same(found, answer)), None)
            if model is None:
                self.mixed.append(found)
            else:
                self.seen[model] += 1


def same(found: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> bool:
    """The same documents in the same order, at the same distances."""
    return [path for path, _ in found] == [path for path, _ in wanted] and [one for _, one in found] == pytest.approx(
        [one for _, one in wanted], abs=1e-4
    )


def answer(texts: dict[str, str], dim: int) -> list[tuple[str, float]]:
    """What a search in vectors of one model gives."""
    whole = {path: fake_vector(text) for path, text in {**texts, "?": QUERY}.items()}
    cut = {path: vector[:dim] / (vector[:dim] @ vector[:dim]) ** 0.5 for path, vector in whole.items()}
    near = {path: float(cut["?"] @ cut[path]) for path in texts}
    return sorted(near.items(), key=lambda one: -one[1])[:SHOWN]


def test_no_search_fails_or_mixes_two_models(place: Place) -> None:
    """Rule: two deployments search, with the old and the new code, through the whole routine; each answer is one model's, whole."""
    place.write(NOTES)
    place.ok("run", "job.yaml")
    place.put("schema.py", NEW_MODEL)
    texts = {f"{number}.txt": f"note {number} says {number * 7}" for number in range(1, NOTES + 1)}
    known = {"old": answer(texts, 8), "new": answer(texts, 4)}
    assert known["old"] != known["new"]
    place.put("old_schema.py", SCHEMA)
    place.put("new_schema.py", NEW_MODEL)
    loops = [Loop(job_with(place, name), known) for name in ("old_schema.py", "new_schema.py")]
    threads = [threading.Thread(target=loop.run) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        routine(place, lambda model: both_see(loops, model))
    finally:
        for loop in loops:
            loop.stop.set()
        for thread in threads:
            thread.join()
    for loop in loops:
        assert loop.errors == []
        assert loop.mixed == []
        assert min(loop.seen["old"], loop.seen["new"]) > 5


@pytest.mark.parametrize("place", TIERS[1:], indirect=True)
def test_an_answer_of_a_collection_that_is_being_released_is_not_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: Milvus 2.3.5 answers with nothing, and no error, in the moment of a release; the search is made again."""
    from connector.commands import searching
    from connector.milvus.search import search as real

    place.write(3)
    place.ok("run", "job.yaml")
    asked: list[str] = []

    def empty_once(connection: Any, name: str, *given: Any, **options: Any) -> Any:
        asked.append(name)
        if len(asked) > 1:
            return real(connection, name, *given, **options)
        connection.client.release_collection(name)
        return [[]]

    monkeypatch.setattr(searching, "search", empty_once)
    assert len(connector.search(job_with(place, "schema.py"), QUERY)) == 3
    assert asked == ["notes__g1", "notes__g1"]


def job_with(place: Place, schema: str) -> connector.Job:
    """A deployment's job, which it only searches with."""
    values = {"job": "notes", "source": None, "into": f"{schema}:Notes", "milvus": json.loads(block(place.settings))}
    return connector.Job.check(values, "test")


def routine(place: Place, wait_for: Callable[[str], None]) -> None:
    """Everything that is done to a collection, with a look at who answers after each step."""
    wait_for("old")
    for words, model in (
        (("apply", "job.yaml", "--allow-replace"), "old"),
        (("run", "job.yaml"), "old"),
        (("promote", "job.yaml"), "new"),
        (("rollback", "job.yaml"), "old"),
        (("promote", "job.yaml"), "new"),
        (("prune", "job.yaml", "--yes"), "new"),
    ):
        place.ok(*words)
        wait_for(model)
    place.put(
        "schema.py", NEW_MODEL.replace("truncate_dim=4", "truncate_dim=4, index=HNSW(M=8)").replace("import Coll", "import HNSW, Coll")
    )
    place.ok("apply", "job.yaml")
    wait_for("new")


def both_see(loops: list[Loop], model: str) -> None:
    """Waits until both deployments have been answered by this model a few times."""
    before = [loop.seen[model] for loop in loops]
    deadline = time.monotonic() + 60
    while any(loop.seen[model] < start + 4 for loop, start in zip(loops, before, strict=True)):
        assert time.monotonic() < deadline, [(loop.seen, loop.errors[:3]) for loop in loops]
        time.sleep(0.05)
