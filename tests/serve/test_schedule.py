"""The times that follow from a schedule, and what is due after the time before this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from connector.durations import seconds_of, words_of
from connector.errors import ConfigError
from connector.job import Job
from connector.job.schedule import ScheduleSettings
from connector.serve.planner import Planner
from connector.serve.standing import next_start

MONDAY = datetime(2026, 11, 30, tzinfo=UTC)


def starts(cron: str, zone: str = "UTC", after: datetime = MONDAY, count: int = 2) -> list[str]:
    """The next starts, in UTC."""
    found: list[datetime] = []
    for _ in range(count):
        following = ScheduleSettings(cron=cron, timezone=zone).next_after(found[-1] if found else after)
        assert following is not None
        found.append(following)
    return [f"{one.astimezone(UTC):%a %d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", ["Mon 30 02:30", "Tue 01 02:30"]),
        ("*/20 9-10 * * *", ["Mon 30 09:00", "Mon 30 09:20"]),
        ("0 9 * * 1", ["Mon 30 09:00", "Mon 07 09:00"]),
        ("0 9 * * 0", ["Sun 06 09:00", "Sun 13 09:00"]),
        ("0 9 * * 7", ["Sun 06 09:00", "Sun 13 09:00"]),
        ("0 9 * * fri-sun", ["Fri 04 09:00", "Sat 05 09:00"]),
        ("0 9 * * 2-6/2", ["Tue 01 09:00", "Thu 03 09:00"]),
        ("0 9 * * Wed,FRI", ["Wed 02 09:00", "Fri 04 09:00"]),
        ("0 0 13 * 5", ["Fri 04 00:00", "Fri 11 00:00"]),
        ("0 0 1 1 *", ["Fri 01 00:00", "Sat 01 00:00"]),
        ("@hourly", ["Mon 30 01:00", "Mon 30 02:00"]),
        ("@weekly", ["Sun 06 00:00", "Sun 13 00:00"]),
    ],
)
def test_cron_lines_mean_what_cron_means(cron: str, expected: list[str]) -> None:
    """0 and 7 are Sunday, steps and names work, and of a day of the month and a weekday either is enough."""
    assert starts(cron) == expected


def test_clocks_that_are_changed() -> None:
    """A time that does not exist is an hour later by the clock; one that exists twice is started twice, which changes nothing."""
    assert starts("30 2 * * *", "Europe/Berlin", datetime(2027, 3, 27, 12, tzinfo=UTC)) == ["Sun 28 01:30", "Mon 29 00:30"]
    assert starts("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 3) == [
        "Sun 25 00:30",
        "Sun 25 01:30",
        "Mon 26 01:30",
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"cron": "61 * * * *"}, "`schedule.cron`: Value error, Error validating expression '61'"),
        ({"cron": "0 9 * *"}, "`schedule.cron`: Value error, wanted five fields"),
        ({"cron": "0 9 * * 8"}, "'8' is no weekday"),
        ({"cron": "0 9 * * sat-mon/0"}, "no range of weekdays"),
        ({"cron": "0 9 * * *", "every": "1h"}, "`schedule`: Value error, wanted one of `cron` and `every`"),
        ({}, "wanted one of `cron` and `every`"),
        ({"every": "soon"}, "`schedule.every`: Value error, 'soon' is no time above zero"),
        ({"every": "1h", "timezone": "Europe/Berln"}, "`schedule.timezone`: Value error, there is no time zone 'Europe/Berln'"),
        ({"evry": "1h"}, "unknown key `evry`"),
        ({"every": "1h", "missed": "later"}, "`schedule.missed`"),
    ],
)
def test_mistakes_are_named(schedule: dict[str, str], said: str) -> None:
    """With the file and the key."""
    values = {"job": "j", "source": {"kind": "files"}, "into": "x", "milvus": {"uri": "./m.db"}, "schedule": schedule}
    with pytest.raises(ConfigError) as caught:
        Job.check(values, "jobs/nightly.yaml")
    assert str(caught.value).startswith("jobs/nightly.yaml: ")
    assert said in str(caught.value)


def job(**schedule: Any) -> Job:
    """One with this schedule."""
    values = {"job": "j", "source": {"kind": "files"}, "into": "x", "milvus": {"uri": "./m.db"}}
    return Job.check({**values, **({"schedule": schedule} if schedule else {})}, "job.yaml")


def at(hour: float, day: int = 30) -> float:
    """That moment of November, in seconds."""
    return datetime(2026, 11, day, int(hour), round(hour % 1 * 60), tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "last", "expected"),
    [
        ({"every": "2h"}, None, 12),
        ({"cron": "0 15 * * *"}, None, 15),
        ({"every": "2h"}, (11.0, 0), 13),
        ({"every": "2h"}, (9.0, 0), 11),
        ({"every": "2h", "missed": "skip"}, (7.5, 0), 13.5),
        ({"cron": "0 10 * * *", "timezone": "UTC"}, (9.0, 0), 10),
        ({"cron": "0 10 * * *", "timezone": "UTC"}, (9.0, 3), 10),
        ({"cron": "0 10,16 * * *", "timezone": "UTC", "missed": "skip"}, (9.0, 0), 16),
        ({"cron": "0 10,16 * * *", "timezone": "UTC"}, (11.0, 0), 16),
        ({"cron": "0 10,16 * * *", "timezone": "UTC"}, (11.0, 4), 11),
        ({"cron": "0 10,16 * * *", "timezone": "UTC", "missed": "skip"}, (11.0, None), 11),
        ({}, (11.0, 0), None),
    ],
)
def test_what_is_due_at_noon(schedule: dict[str, Any], last: tuple[float, int | None] | None, expected: float | None) -> None:
    """A start that was missed is due once or skipped; what did not come to its end is due; a new interval begins at once."""
    row = {"started": at(last[0]), "exit_code": last[1]} if last else None
    found = next_start(job(**schedule), row, at(12))
    assert (found.timestamp() if found else None) == (at(expected) if expected is not None else None)


def test_jitter_puts_off_by_at_most_so_much() -> None:
    """Starts of many jobs at one time spread; none is early."""
    trigger = ScheduleSettings(cron="0 9 * * *", timezone="UTC", jitter="10m").trigger(MONDAY)  # type: ignore[arg-type]  # as a file says it
    late = [trigger.get_next_fire_time(None, MONDAY).timestamp() - at(9) for _ in range(50)]
    assert 0 <= min(late) < max(late) <= 600


def test_a_date_that_never_comes() -> None:
    """A schedule without a start is said, and planned for never."""
    planner = Planner(lambda _: None, 60)
    assert planner.place("j", job(cron="0 0 30 2 *"), None) is False
    assert planner.next("j") is None


def test_lengths_of_time() -> None:
    """As people write and read them."""
    assert [seconds_of(text) for text in ("90", "90s", "50m", "1h30m", "7d", 2.5)] == [90, 90, 3000, 5400, 604800, 2.5]
    assert [words_of(seconds) for seconds in (0.5, 45, 720, 11400, 187200)] == ["0.5 s", "45 s", "12 min", "3 h 10 min", "2 d 4 h"]
