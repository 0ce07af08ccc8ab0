"""What a server counts, for Prometheus."""

from collections.abc import Callable, Iterator
from typing import Any

from hyperadapters.server.queries import Gauges, Reply

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class _ServerMetrics:
    """Counts of one server; adapters have series from their first request on, until they are dropped."""

    def __init__(self, known: Callable[[], int], gauges: Callable[[], Gauges | None]) -> None:
        """Make the counters.

        Args:
            known: returns the number of tasks that can be asked for.
            gauges: returns the state of the engine.
        """
        import prometheus_client as client  # noqa: PLC0415 (of an extra)
        import prometheus_client.core  # noqa: PLC0415

        self._client, self._registry = client, client.CollectorRegistry()
        to: dict[str, Any] = {"registry": self._registry, "namespace": "hyperadapters"}
        self.requests = client.Counter("requests", "Requests by route and status.", ["route", "status"], **to)
        self.seconds = client.Histogram("request_seconds", "Time to answer.", ["route"], buckets=_SECONDS, **to)
        self.queued = client.Histogram("queue_seconds", "Time in the queue.", buckets=_SECONDS, **to)
        self.batch = client.Histogram("batch_rows", "Rows of the batch that a request was in.", buckets=_ROWS, **to)
        self.rows = client.Counter("adapter_rows", "Rows answered by adapter.", ["adapter"], **to)
        self.tokens = client.Counter("adapter_tokens", "Tokens by adapter.", ["adapter", "kind"], **to)
        self.latency = client.Summary("adapter_seconds", "Time to answer by adapter.", ["adapter"], **to)
        self.own_batch = client.Summary("adapter_batch_rows", "Rows of its batches by adapter.", ["adapter"], **to)
        self.own_queued = client.Summary("adapter_queue_seconds", "Time in the queue by adapter.", ["adapter"], **to)
        client.ProcessCollector(registry=self._registry)
        self._registry.register(_EngineCollector(client, known, gauges))

    def answered(self, adapter: str, reply: Reply, seconds: float) -> None:
        """Count the reply of an adapter, which took so many seconds."""
        self.queued.observe(reply.queued)
        self.batch.observe(reply.batch)
        self.rows.labels(adapter).inc(len(reply.answers))
        self.tokens.labels(adapter, "source").inc(reply.source_tokens)
        self.tokens.labels(adapter, "answer").inc(reply.answer_tokens)
        self.latency.labels(adapter).observe(seconds)
        self.own_batch.labels(adapter).observe(reply.batch)
        self.own_queued.labels(adapter).observe(reply.queued)

    def forget(self, adapter: str) -> None:
        """Drop the series of an adapter."""
        for metric in (self.rows, self.latency, self.own_batch, self.own_queued, self.tokens):
            metric.remove_by_labels({"adapter": adapter})

    def text(self) -> tuple[bytes, str]:
        """Return all of it as Prometheus reads it, and its content type."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST


class _EngineCollector:
    """The state of the engine, asked for when it is read."""

    def __init__(self, client: Any, known: Callable[[], int], gauges: Callable[[], Gauges | None]) -> None:
        self._client, self._known, self._gauges = client, known, gauges

    def collect(self) -> Iterator[Any]:
        """Yield the values."""
        core, found = self._client.core, self._gauges()
        yield core.GaugeMetricFamily("hyperadapters_adapters_known", "Tasks that can be asked for.", self._known())
        if found is None:
            return
        yield core.GaugeMetricFamily("hyperadapters_queue_rows", "Rows that wait.", found.waiting)
        yield core.GaugeMetricFamily("hyperadapters_adapters_resident", "Adapters in memory.", found.held)
        yield core.CounterMetricFamily("hyperadapters_adapter_loads", "Adapters read.", found.loads)
        yield core.CounterMetricFamily("hyperadapters_adapter_evictions", "Adapters that made room.", found.evictions)
