"""The transcript that `make transcript` prints tells what it should, on Milvus Lite and in small."""

from __future__ import annotations

from pathlib import Path

from tests.faults.transcript import KILLS, fill, transcript
from tests.faults.workshop import NOTHING_WRONG, Workshop


def test_three_kills_and_the_same_command(tmp_path: Path) -> None:
    """After each SIGKILL the same command goes on; in the end nothing is missing, doubled, stale or foreign, and verify is clean."""
    told: list[str] = []
    shop = Workshop(tmp_path)
    fill(shop, 80)
    assert transcript(shop, None, told.append) == NOTHING_WRONG
    assert sum("ended by signal 9" in line for line in told) == len(KILLS) == 3
    assert told[-1] == "oracle: missing 0, doubled 0, stale 0, foreign 0"
    assert "  exit code 0" in told
    assert any("20 listed = 20 unchanged + 0 written; 0 lines encoded" in line for line in told)
