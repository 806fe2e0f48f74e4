"""What a run is composed of, what it does differently from its job, and who watches it: plain data for `pipeline.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connector.report import RunReport
from connector.stations.windows import WindowLimits
from connector.stopping import Stop
from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.interfaces import Sink, Source
    from connector.ledger import Ledger
    from connector.record import Window
    from connector.stations.reading import Reader
    from connector.stations.rows import Conform


@dataclass(frozen=True, slots=True)
class Options:
    """What one run does differently from the job.

    Attributes:
        limit: List at most this many documents; never sweeps.
        select: Only documents whose key matches this glob; never sweeps.
        full_refresh: Read and write every document whatever the ledger says.
        allow_mass_delete: Lift the brake on sweeping.
        time_limit: Stop cleanly after so many seconds, at the end of a window; the next run goes on.
        only: Only the documents with these keys, made again whatever the ledger says; never sweeps.
    """

    limit: int | None = None
    select: str | None = None
    full_refresh: bool = False
    allow_mass_delete: bool = False
    time_limit: float | None = None
    only: frozenset[str] | None = None

    @property
    def partial(self) -> bool:
        """Whether a run looks at a part of the source only, so that it cannot know what vanished."""
        return self.limit is not None or self.select is not None or self.only is not None


@dataclass(frozen=True, slots=True)
class Stations:
    """Everything a run is composed of; `job.py` builds it.

    Attributes:
        source: LIST.
        read: READ, PARSE and SPLIT of one document.
        encode: ENCODE: windows in, the same windows with vectors out.
        conform: CONFORM.
        sink: WRITE.
        ledger: SKIP and COMMIT.
        limits: Of a window.
        sync: append (known documents are never looked at again), upsert, or mirror (what vanished is deleted).
        source_settings: Hash of the source's settings; a sweep needs the same as in the last run.
        workers: Threads that read; 0 runs every station serially.
    """

    source: Source
    read: Reader
    encode: Callable[[Iterator[Window]], Iterator[Window]]
    conform: Conform
    sink: Sink
    ledger: Ledger
    limits: WindowLimits = field(default_factory=WindowLimits)
    sync: str = "upsert"
    source_settings: str = ""
    workers: int = 2

    @property
    def natural(self) -> bool:
        """Whether primary keys come from the rows."""
        return not self.conform.spec.primary.generated


@dataclass(frozen=True, slots=True)
class Monitor:
    """Who watches a run.

    Attributes:
        report: Filled as the run goes on.
        watch: Seconds by station.
        stop: Asks the run to end.
        on_window: Called with the report after every committed window.
    """

    report: RunReport
    watch: Stopwatch = field(default_factory=Stopwatch)
    stop: Stop = field(default_factory=Stop)
    on_window: Callable[[RunReport], None] = lambda _: None
