"""What the hook-runner counts."""

from prometheus_client import Counter, Gauge, Histogram

DELIVERIES = Counter(
    "teambus_hook_deliveries", "Deliveries by what became of them", ["hook", "result"]
)
IN_HAND = Gauge("teambus_hook_in_hand", "Deliveries being worked on", ["hook"])
CALL_SECONDS = Histogram(
    "teambus_hook_call_seconds",
    "How long a hook took, waiting for its process included",
    ["hook"],
    buckets=(0.005, 0.05, 0.5, 1, 5, 30, 120, 600),
)
