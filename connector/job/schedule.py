"""When a job runs under `connector serve`: the `schedule:` block of a job file, and the times that follow from it.

A cron line is read as cron reads it, which is not as APScheduler does: 0 and 7 are Sunday, and where both a day of the month and a weekday
are given, either is enough.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from connector.durations import seconds_of, words_of

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

Time = Annotated[float, BeforeValidator(seconds_of), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]
"""A length of time, as `durations.seconds_of` reads it, in seconds."""

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = 5
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class ScheduleSettings(BaseModel):
    """When `connector serve` runs the job.

    Attributes:
        cron: Five fields as in crontab (minute, hour, day, month, weekday), or @hourly, @daily, @weekly, @monthly, @yearly.
        every: Instead of `cron`: the time from one start to the next, such as 15m.
        timezone: Of `cron`, such as Europe/Berlin; default the machine's.
        jitter: Each start is put off by a random time of at most this much.
        missed: What becomes of a start that passed while nothing could run: `run` once when it is possible again, or `skip`.
        priority: Of several jobs that wait for a place or for the device, the higher number goes first.
        time_limit: A run ends cleanly after so long, at the end of a window; the next one goes on from there.
        hang_limit: A run without any sign of life for so long is asked to stop, and given up if it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str | None = None
    every: Time | None = None
    timezone: str | None = None
    jitter: Time | None = None
    missed: Literal["run", "skip"] = "run"
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    time_limit: Time | None = None
    hang_limit: Time = 1800.0

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            ZoneInfo(name or "UTC")
        except (KeyError, OSError, ValueError):
            raise ValueError(f"there is no time zone {name!r}; write a name such as Europe/Berlin or UTC") from None
        return name

    @field_validator("cron")
    @classmethod
    def _known_cron(cls, text: str | None) -> str | None:
        if text is not None:
            cron_trigger(text)
        return text

    @model_validator(mode="after")
    def _one_of_two(self) -> ScheduleSettings:
        if (self.cron is None) == (self.every is None):
            raise ValueError("wanted one of `cron` and `every`")
        return self

    def __str__(self) -> str:
        return f"cron {self.cron}{f' {self.timezone}' if self.timezone else ''}" if self.cron else f"every {words_of(self.every or 0)}"

    def next_after(self, moment: datetime) -> datetime | None:
        """The first start after a moment, without jitter; None if there is none, such as on a 30th of February."""
        if self.every is not None:
            return moment + timedelta(seconds=self.every)
        found: datetime | None = cron_trigger(self.cron or "", self.timezone).get_next_fire_time(
            None, moment.astimezone(UTC) + timedelta(microseconds=1)
        )
        return found

    def trigger(self, begin: datetime) -> BaseTrigger:
        """What APScheduler asks for the next start; intervals are counted from `begin`."""
        if self.cron is not None:
            return cron_trigger(self.cron, self.timezone, jitter=self.jitter)
        from apscheduler.triggers.interval import IntervalTrigger

        return IntervalTrigger(seconds=self.every or 0, start_date=begin, jitter=self.jitter)


def cron_trigger(text: str, timezone: str | None = None, *, jitter: float | None = None) -> BaseTrigger:
    """APScheduler's trigger for a line of a crontab.

    Raises:
        ValueError: It is none; what is wrong with it.
    """
    from apscheduler.triggers.combining import OrTrigger
    from apscheduler.triggers.cron import CronTrigger

    words = _NAMED.get(text.strip(), text).split()
    if len(words) != _FIELDS:
        raise ValueError(f"wanted five fields (minute hour day month weekday), found {text!r}")
    minute, hour, day, month, weekday = words
    common: dict[str, Any] = {"minute": minute, "hour": hour, "month": month, "timezone": ZoneInfo(timezone) if timezone else None}
    named = _weekdays(weekday)
    if day.startswith("*") or weekday.startswith("*"):
        return CronTrigger(day=day, day_of_week=named, jitter=jitter, **common)
    return OrTrigger([CronTrigger(day=day, **common), CronTrigger(day_of_week=named, **common)], jitter=jitter)


def _weekdays(field: str) -> str:
    """Names of days for a crontab's fifth field, whose numbers mean other days in APScheduler."""
    if field == "*":
        return field
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("0", "-", "6") if span == "*" else span.partition("-")
        low = _day(first)
        high = _day(last) if dash else 6 if step else low
        high = 7 if high == 0 < low else high  # a week that ends on Sunday
        if high < low or (step and not step.isdecimal()) or step == "0":
            raise ValueError(f"{part!r} is no range of weekdays")
        found |= {day % 7 for day in range(low, high + 1, int(step or 1))}
    return ",".join(_DAYS[day] for day in sorted(found))


def _day(word: str) -> int:
    if word in _DAYS:
        return _DAYS.index(word)
    if word in set("01234567"):
        return int(word)
    raise ValueError(f"{word!r} is no weekday; write 0 to 7 (0 and 7 are Sunday) or {', '.join(_DAYS)}")
