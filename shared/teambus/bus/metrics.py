"""What every service counts of its bus."""

from prometheus_client import Counter, Gauge

CONNECTED = Gauge("teambus_bus_connected", "1 while this process is connected to the bus")
RECONNECTS = Counter("teambus_bus_reconnects", "Times a lost connection to the bus was restored")
DEAD_LETTERS = Counter(
    "teambus_dead_letters", "Dead letters written here, by what they are about", ["about"]
)
for _about in ("hook", "run", "request"):
    # Shown as 0 from the start, so that the first letter is seen to be one more.
    DEAD_LETTERS.labels(_about)
