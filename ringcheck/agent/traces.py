"""Traces of polls for a collector of OpenTelemetry: spans for each poll, its steps and its requests.

They are made only if OpenTelemetry's environment variables ask for them and the extra `ringcheck[traces]` is installed.
Otherwise the libraries are not loaded.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ringcheck.http.timing import observe, unobserve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import TracerProvider

    from ringcheck.http.timing import RequestTimes

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_SECONDS = 2.0  # seconds for sending the last spans at the end
MISSING = "traces are asked for, and OpenTelemetry is not installed: pip install 'ringcheck[traces]'"


class TracesError(Exception):
    """Traces are configured, but can't be made; the text says why."""


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces, by an endpoint or the name of the exporter."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter == "otlp" or (not exporter and any(environment.get(name) for name in ENDPOINTS))


def start() -> Callable[[], None]:
    """Trace polls from now on. The returned function ends that and sends the last spans, within `FLUSH_SECONDS`.

    Raises:
        TracesError: a library is missing, or the environment has a value that it refuses.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - optional
    except ImportError:
        raise TracesError(MISSING) from None
    try:
        os.environ.setdefault("OTEL_SERVICE_NAME", "ringcheck")
        provider = TracerProvider(resource=Resource.create(), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except Exception as error:  # noqa: BLE001 - the agent goes on without traces
        raise TracesError(f"traces can't be made: {error}") from None
    observer = Traces(provider)
    observe(observer)

    def end() -> None:
        unobserve(observer)
        work = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        work.start()  # a collector that hangs must not delay the end of the process
        work.join(FLUSH_SECONDS)

    return end


class Traces:
    """An observer that makes spans; see `timing.Observer`."""

    def __init__(self, provider: TracerProvider) -> None:
        """Prepare.

        Args:
            provider: makes and exports the spans.
        """
        from opentelemetry import trace  # noqa: PLC0415 - optional

        self._trace = trace
        self._tracer = provider.get_tracer("ringcheck")

    def request(self, times: RequestTimes) -> None:
        """A span for a request of a poll; other requests, such as those to webhooks, get none."""
        trace = self._trace
        if not trace.get_current_span().get_span_context().is_valid:
            return
        begins = int(times.began * 1e9)
        span = self._tracer.start_span(times.method, kind=trace.SpanKind.CLIENT, start_time=begins)
        span.set_attributes(_attributes(times))
        for name in ("connected", "secured", "answered"):
            if (seconds := getattr(times, name)) is not None:
                span.add_event(name, timestamp=begins + int(seconds * 1e9))
        if times.error:
            span.set_status(trace.StatusCode.ERROR, times.error)
        span.end(begins + int(times.ended * 1e9))

    def step(self, name: str, cluster: str) -> AbstractContextManager[None]:
        """A span for a step, below that of the step around it."""
        attributes = {"ringcheck.cluster": cluster} if cluster else {}
        return self._tracer.start_as_current_span(name, attributes=attributes)  # type: ignore[return-value] # a span


def _attributes(times: RequestTimes) -> dict[str, str | int]:
    """Attributes by the semantic conventions for HTTP clients."""
    parts = urlsplit(times.url)
    known = {
        "http.request.method": times.method,
        "url.full": times.url,
        "server.address": parts.hostname,
        "server.port": parts.port,
        "http.response.status_code": times.status,
    }
    return {name: value for name, value in known.items() if value is not None}
