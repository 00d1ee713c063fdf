"""What the operator watches, in Prometheus' format. Counts and durations only: never a petition's words."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """One registry an application, so that two applications in one process (tests) do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "petitions_http_requests_total", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "petitions_http_request_seconds",
            "Time to answer an HTTP request",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.classified = Counter(
            "petitions_classified_total",
            "Petitions answered",
            ["category", "urgency", "petition_type", "decision"],
            registry=self.registry,
        )
        self.errors = Counter("petitions_errors_total", "Errors told to callers", ["kind"], registry=self.registry)
        self.batch_size = Histogram(
            "petitions_batch_size",
            "Petitions read together",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.queue_depth = Gauge("petitions_queue_depth", "Petitions waiting", registry=self.registry)
        self.model = Info("petitions_model", "Model that answers", registry=self.registry)
        self.model_switches = Counter(
            "petitions_model_switches_total", "Times another model took over", registry=self.registry
        )
        self.model_refused = Gauge(
            "petitions_model_refused", "1 while the model that the pointer names is not served", registry=self.registry
        )
        self.shadow = Counter(
            "petitions_shadow_total", "Petitions offered to the shadow candidate", ["outcome"], registry=self.registry
        )
        self.shadow_running = Gauge(
            "petitions_shadow_running", "1 while a candidate reads beside the model", registry=self.registry
        )
        self.alerts = Counter(
            "petitions_alerts_total", "Attempts to deliver an emergency alert", ["outcome"], registry=self.registry
        )
        self.alerts_undelivered = Gauge(
            "petitions_alerts_undelivered", "Emergency alerts not delivered yet, or given up", registry=self.registry
        )
        self.jobs = Gauge("petitions_jobs", "Labelling jobs in the store", ["state"], registry=self.registry)
        self.job_rows = Counter("petitions_job_rows_total", "Rows labelled by jobs", registry=self.registry)
