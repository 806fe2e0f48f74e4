"""Prints what happens when nothing is spared: a job is killed three times, its server once, and the same command finishes it.

Every kill is a SIGKILL, at another moment of the commit; the server dies under the fourth run and comes back a few seconds later. Then
`connector verify --full` compares ledger and collection, and the oracle, which shares no code with a run, counts what is missing, doubled,
stale or foreign.

    python -m tests.faults.transcript [--lines 7000] [--lite]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from connector.testing.failpoints import environment
from connector.testing.server import MilvusServer
from tests import children
from tests.faults.workshop import NOTHING_WRONG, Workshop, committed, wait_until, writing

KILLS = {
    "sink.sent:1:kill": "a window is on its way to Milvus",
    "sink.acknowledged:1:kill": "Milvus acknowledged the window, the ledger does not know it yet",
    "ledger.completed:1:kill": "the window was committed a moment ago",
}
LINES_A_NOTE = 4
AWAY = 5.0
"""Seconds that the server is gone."""

Tell = Callable[[str], None]


def transcript(shop: Workshop, server: MilvusServer | None, tell: Tell) -> dict[str, int]:
    """Does all of it and tells it; returns the oracle's counts."""
    for plan, what in KILLS.items():
        code = shop.run(plan).returncode
        tell(f"$ connector run job.yaml    # SIGKILL: {what}")
        tell(f"  ended by signal {-code}; the ledger has {committed(shop)} documents done; {'some' if writing(shop) else 'none'} under way")
        assert code == -signal.SIGKILL, code
    report = _last_run(shop, server, tell)
    counts = report["counts"]
    tell(
        f"  {counts['listed']} listed = {counts['unchanged']} unchanged + {counts['written']} written; {report['encoded']} lines encoded,"
        f" {report['reused']} had their vectors from before"
    )
    _verified(shop, tell)
    found = shop.compare()
    tell("oracle: " + ", ".join(f"{name} {number}" for name, number in found.items()))
    return found


def _last_run(shop: Workshop, server: MilvusServer | None, tell: Tell) -> dict[str, dict[str, int]]:
    """The same command once more, with the server's death in it."""
    before, process = committed(shop), shop.start()
    try:
        if server is not None:
            wait_until(lambda: committed(shop) > before or process.poll() is not None, 300)
            server.kill()
            time.sleep(AWAY)
            server.restart()
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    death = f"    # under it the server got SIGKILL and was away for {AWAY:.0f} s" if server else ""
    tell(f"$ connector run job.yaml{death}")
    assert process.returncode == 0, out + err
    for line in err.splitlines():
        if "trying again" in line:
            tell(f"  {line.strip()[:150]}")
            break
    tell("  exit code 0")
    report: dict[str, dict[str, int]] = json.loads(out)
    return report


def _verified(shop: Workshop, tell: Tell) -> None:
    done = children.run(["verify", "job.yaml", "--full"], shop.folder, environment(), timeout=600)
    tell("$ connector verify job.yaml --full")
    for line in done.stdout.splitlines():
        tell(f"  {line}")
    tell(f"  exit code {done.returncode}")
    assert done.returncode == 0, done.stdout + done.stderr


def fill(shop: Workshop, lines: int) -> None:
    """Notes with so many lines together."""
    for number in range(lines // LINES_A_NOTE):
        shop.write(f"note{number:05}", LINES_A_NOTE)


def main() -> int:
    """Prints the transcript; 0 if the oracle found nothing wrong."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--lines", type=int, default=7000, help="rows; 7,000 make four windows")
    parser.add_argument("--lite", action="store_true", help="into Milvus Lite, where no server can be killed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        server = None if given.lite else stack.enter_context(MilvusServer(Path(name) / "milvus", authorization=True))
        (folder := Path(name) / "job").mkdir()
        reach = {"token": server.token, "retry_deadline": 300, "timeout": 30} if server else {}
        shop = Workshop(folder, uri=server.uri if server else "notes.db", milvus=reach, delay=0.002)
        pinned = (schema := folder / "notes_schema.py").read_text().replace('"fake:fake"', '"fake:fake", revision="1"')
        schema.write_text(pinned)  # so that vectors are kept, as those of any model whose weights are known
        fill(shop, given.lines)
        print(f"{given.lines // LINES_A_NOTE} documents of {LINES_A_NOTE} lines into {'Milvus 2.3.5' if server else 'Milvus Lite'}")  # noqa: T201 - the transcript
        found = transcript(shop, server, print)
    return 0 if found == NOTHING_WRONG else 1


if __name__ == "__main__":
    sys.exit(main())
