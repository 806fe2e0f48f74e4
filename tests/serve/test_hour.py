"""Everything at once, as it is in the world: see `hour.py`."""

from __future__ import annotations

from pathlib import Path

from tests.serve.hour import Hour


def test_a_short_hour(tmp_path: Path) -> None:
    """Jobs that crash, hang or are broken, and data that changes all the while: in the end every collection is what its source is."""
    lines: list[str] = []
    story = tmp_path / "story"
    story.mkdir()
    Hour(story, "{uri: notes.db}", 0.05, tell=lines.append).play()
    text = "\n".join(lines)
    assert "late       broken   `schedule.cron`" in text
    assert sum("verify: " in line for line in lines) == 5
