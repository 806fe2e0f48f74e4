"""Makes spans of a run for OpenTelemetry: the run, its windows from WINDOW to COMMIT, in them micro-batches and the stations that end them.

It is off, and costs nothing, until `enable` is called or OpenTelemetry's own environment variables name a collector. The spans of a run's
threads belong to the run because `flow` hands the context on; a window carries its span from thread to thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from connector.stopwatch import Stopwatch

if TYPE_CHECKING:
    from connector.record import Window

log = logging.getLogger(__name__)

STATIONS = {"encode": "batch", **{name: name for name in ("conform", "ledger", "write", "sweep", "verify", "close")}}
"""What is timed once a window or micro-batch, and the name of its span; what is timed for every document would be too much."""

_ASKED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SILENT = {"record_exception": False, "set_status_on_exception": False}
_TRACERS: list[Any] = []
_OURS: list[Any] = []
_MISSED: list[bool] = []


def enable(provider: Any = None) -> None:
    """Traces all runs of this process from now on.

    Args:
        provider: An `opentelemetry.trace.TracerProvider`; default the process's own.
    """
    from opentelemetry import trace

    _TRACERS[:] = [trace.get_tracer("connector", version("connector"), tracer_provider=provider)]


def disable() -> None:
    """Traces nothing any more."""
    _TRACERS.clear()


def from_environment() -> None:
    """Traces if the environment names a collector: by the process's own provider, where it has one, else by one of ours."""
    if _TRACERS or _MISSED or not any(os.environ.get(name) for name in _ASKED) or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return
    try:
        from opentelemetry import trace

        unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        enable(_provider() if unset else None)
    except ImportError:
        _MISSED.append(True)
        log.warning("the environment asks for traces, but OpenTelemetry is not installed: pip install 'connector[otel]'")


def flush() -> None:
    """Sends what is held of the traces, if they are sent by a provider of ours; waits five seconds at most."""
    for provider in _OURS:
        provider.force_flush(5_000)


def _provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    names = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "connector"}
    provider = TracerProvider(resource=Resource.create(names))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=5)))
    _OURS[:] = [provider]
    return provider


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[Callable[..., None]]:
    """A span around a block; yields what sets further attributes. An error marks it, by its type: what it says may quote data."""
    if not _TRACERS:
        yield lambda **_: None
        return
    from opentelemetry.trace import StatusCode

    with _TRACERS[0].start_as_current_span(name, attributes=_named(attributes), **_SILENT) as one:
        try:
            yield lambda **more: one.set_attributes(_named(more))
        except BaseException as error:
            one.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def begin(window: Window) -> None:
    """Begins the span of a window that was just made."""
    if _TRACERS:
        window.span = _TRACERS[0].start_span("window", attributes=_named({"rows": len(window.rows), "documents": len(window.parts)}))


def within(window: Window) -> contextlib.AbstractContextManager[Any]:
    """Lets the spans of a block belong to the window."""
    if window.span is None:
        return contextlib.nullcontext()
    from opentelemetry import trace

    return trace.use_span(window.span, **_SILENT)


def end(window: Window) -> None:
    """Ends the span of a window that is committed."""
    if window.span is not None:
        window.span.set_attributes(_named({"rejected": len(window.bad)}))
        window.span.end()


def stopwatch() -> Stopwatch:
    """What times the stations of a run: one that also makes spans of them, if runs are traced."""
    return _Traced() if _TRACERS else Stopwatch()


class _Traced(Stopwatch):
    """Makes a span of what is timed."""

    @contextlib.contextmanager
    def time(self, station: str) -> Iterator[None]:
        """Times a block."""
        with span(STATIONS[station]) if station in STATIONS else contextlib.nullcontext():
            start = time.perf_counter()
            try:
                yield
            finally:
                self.add(station, time.perf_counter() - start)

    def note(self, **numbers: int) -> None:
        """Adds attributes to the span of what is being timed."""
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_named(numbers))


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"connector.{name}": value for name, value in attributes.items()}
