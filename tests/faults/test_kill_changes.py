"""Killed with SIGKILL wherever a collection is altered, copied, switched or pruned, and run again: it is finished, and no row is lost."""

from __future__ import annotations

import signal

import pytest

from connector import faults
from connector.testing.failpoints import environment
from tests import children
from tests.commands.test_switching import Place, place
from tests.workfolder import SCHEMA

__all__ = ["place"]

GRAPH = SCHEMA.replace('"fake:fake"', '"fake:fake", index=HNSW(M=8)').replace("import Coll", "import HNSW, Coll")
SHARDS = SCHEMA.replace("(Collection)", "(Collection, shards=2)")
WORDS = {
    "alter": ["apply", "job.yaml"],
    "copy": ["copy", "job.yaml"],
    "switch": ["promote", "job.yaml"],
    "prune": ["prune", "job.yaml", "--yes"],
}


@pytest.mark.parametrize("point", faults.CHANGE_POINTS)
def test_killed_and_run_again(place: Place, point: str) -> None:
    """Rule: the same command again is the recovery; then the plan is empty and every document is there and found."""
    what = point.partition(".")[0]
    if what == "alter":
        place.write(3)
        place.ok("run", "job.yaml")
        place.put("schema.py", GRAPH)
    else:
        place.candidate(SHARDS)
        for words in (["copy", "job.yaml"], ["promote", "job.yaml"])[: ("copy", "switch", "prune").index(what)]:
            place.ok(*words)
    killed = children.run(WORDS[what], place.root, environment(f"{point}:1:kill"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    place.ok(*WORDS[what])
    for words in (["copy", "job.yaml"], ["promote", "job.yaml"], ["prune", "job.yaml", "--yes"]):
        place.ok(*words)
    assert place.call("plan", "job.yaml")[0] == 0
    assert len(place.state().generations) == 1
    report = place.ok("run", "job.yaml")
    assert (report["counts"]["unchanged"], report["encoded"]) == (3, 0)
    code, out, _ = place.call("search", "job.yaml", "note 2 says 14", "--limit", "5")
    assert (code, out.count("path:"), out[:5]) == (0, 3, "1.000")
