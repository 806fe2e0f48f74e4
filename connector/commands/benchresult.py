"""What a measurement of a job came to: rates, the limit that they imply, and the sentences that say what would move it.

Two yardsticks, since the model alone can be out of reach: where it computes on the same cores as everything else, each row's preparation
and writing is time that the model does not have. So a job is also held against its limit: cores / (core-seconds a row of prepare, encode
and write), each measured alone.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, Field

from connector.verdict import BUSY, ENOUGH, advice, busiest

LIMITING = ("prepare", "encode", "write")
"""Stations whose core-seconds make the limit."""

READING = ("list", "read", "parse", "split", "transform")
"""Stations that are shown as one."""


class Alone(BaseModel):
    """One station, with nothing else under way.

    Attributes:
        seconds: Wall time for the sample, in one thread but for what the station itself uses.
        core_seconds: Time of all the cores of this process.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0


class Bench(BaseModel):
    """The measurement of a job.

    Attributes:
        job: The job's name.
        documents: How many were in the sample.
        rows: How many rows they became.
        server: What was written to; "" with --no-write.
        encoders: What each model computed in, by its name.
        cores: That this process may use.
        workers: As the job says.
        stations: Each alone, for the whole sample.
        pipeline_s: Wall time of all of them together, as a run has them.
        startup_s: Loading the models, which no rate counts.
        notes: What weakens the measurement.
    """

    job: str
    documents: int = 0
    rows: int = 0
    server: str = ""
    encoders: dict[str, str] = Field(default_factory=dict)
    cores: int = 1
    workers: int = 2
    stations: dict[str, Alone] = Field(default_factory=dict)
    pipeline_s: float = 0.0
    startup_s: float = 0.0
    notes: list[str] = Field(default_factory=list)

    @property
    def model_rate(self) -> float | None:
        """Rows a second of the model alone on prepared input; None if nothing is encoded."""
        encode = self.stations.get("encode")
        return self.rows / encode.seconds if encode and encode.seconds else None

    @property
    def core_ms(self) -> float:
        """Core-milliseconds a row of the stations that make the limit."""
        seconds = sum(self.stations[name].core_seconds for name in LIMITING if name in self.stations)
        return max(seconds, 1e-9) / self.rows * 1000

    @property
    def limit(self) -> float:
        """Rows a second that can be had at most: of these cores, and of a device beside them, whose model waits for nothing."""
        return min(self.cores * 1000 / self.core_ms, self.model_rate or math.inf)

    @property
    def rate(self) -> float:
        """Rows a second of the pipeline."""
        return self.rows / max(self.pipeline_s, 1e-9)

    @property
    def verdict(self) -> str:
        """What holds the pipeline back, and the setting that would move it."""
        if self.pipeline_s < ENOUGH:
            return ""
        most, load = busiest({name: one.seconds for name, one in self.stations.items()}, self.workers)
        held = f"next bottleneck: {most} ({load / self.pipeline_s:.0%} of the pipeline's time)"
        dearest = max(self.stations, key=lambda name: self.stations[name].core_seconds * (name in LIMITING))
        at_limit = self.rate >= BUSY * self.limit
        if at_limit and dearest != "encode" and self.rate < BUSY * (self.model_rate or math.inf):
            return f"the {self.cores} cores are at work, most on {dearest}; faster with more of them; {held}"
        unexplained = "no station explains what is missing; measure longer, and on a quiet machine"
        return advice(held, most, load / self.pipeline_s, self.workers, enough=at_limit, unexplained=unexplained)

    def document(self) -> dict[str, object]:
        """All of it with what follows from it, for --json."""
        shares = {"of_model": self.rate / self.model_rate if self.model_rate else None, "of_limit": self.rate / self.limit}
        rates = {"model_rate": self.model_rate, "core_ms": self.core_ms, "limit": self.limit, "rate": self.rate, **shares}
        return {**self.model_dump(), **rates, "verdict": self.verdict, "exit_code": 0}

    def __str__(self) -> str:
        models = ", ".join(f"{name} in {precision}" for name, precision in self.encoders.items()) or "no encoder"
        where = f"a throw-away collection on {self.server}" if self.server else "nothing (--no-write)"
        lines = [f"{self.job}  {self.documents:,} documents, {self.rows:,} rows; {models}; {self.cores} cores; written to {where}"]
        lines += [f"{'':<24}{'rows/s':>12}{'core-ms a row':>16}", *(self._line(name, names) for name, names in self._groups())]
        lines.append(f"{'pipeline':<24}{self.rate:>12,.1f}")
        if self.model_rate:
            lines.append(f"the pipeline runs at {self.rate / self.model_rate:.0%} of the model's own speed ({self.model_rate:,.1f} rows/s)")
        by = f"{self.cores} cores / {self.core_ms:.3f} core-ms of {', '.join(LIMITING)}"
        lines.append(f"and at {self.rate / self.limit:.0%} of the limit ({self.limit:,.1f} rows/s; {by})")
        lines += [self.verdict] if self.verdict else []
        return "\n".join([*lines, f"start-up, counted nowhere: {self.startup_s:.1f} s", *(f"note: {note}" for note in self.notes)])

    def _groups(self) -> list[tuple[str, tuple[str, ...]]]:
        reading = tuple(name for name in READING if name in self.stations)
        others = [name for name in self.stations if name not in READING]
        shown = [(f"{READING[0]} to {READING[-1]}", reading)] if reading else []
        return [*shown, *(("the model alone" if name == "encode" else name, (name,)) for name in others)]

    def _line(self, title: str, names: tuple[str, ...]) -> str:
        seconds = sum(self.stations[name].seconds for name in names)
        cores = sum(self.stations[name].core_seconds for name in names)
        return f"{title:<24}{self.rows / max(seconds, 1e-9):>12,.1f}{cores / self.rows * 1000:>16.3f}"
