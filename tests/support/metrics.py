"""The metrics as they are documented, and as a real process shows them."""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import Process

DEPLOY = Path(__file__).parents[2] / "deploy"
ROW = re.compile(
    r"^\| `(?P<name>teambus_\w+)` \| (?P<kind>\w+) \|(?P<labels>[^|]*)\| (?P<where>[^|]+) \|",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name as it is exposed, without what a histogram's series add."""

    name: str
    kind: str
    labels: frozenset[str]


def documented(service: str | None = None) -> dict[str, Metric]:
    """The rows of the table, of one service or of all."""
    found: dict[str, Metric] = {}
    for row in ROW.finditer((DEPLOY / "metrics.md").read_text()):
        labels = frozenset(re.findall(r"`(\w+)`", row["labels"]))
        if service in (None, row["where"]) or row["where"] == "all":
            assert row["name"] not in found, f"{row['name']} is documented twice"
            found[row["name"]] = Metric(row["name"], row["kind"], labels)
    return found


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one process shows: each metric's kind, and the samples it has."""

    kinds: dict[str, str]
    samples: dict[str, list[tuple[dict[str, str], float]]]

    @property
    def series(self) -> int:
        return sum(len(each) for each in self.samples.values())

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            value for given, value in self.samples.get(name, []) if labels.items() <= given.items()
        )


async def scrape(process: Process) -> Scrape:
    url = f"http://127.0.0.1:{process.facts['management_port']}/metrics"
    async with httpx2.AsyncClient(timeout=30) as client:
        text = (await client.get(url)).text
    kinds: dict[str, str] = dict(re.findall(r"^# TYPE (teambus_\w+) (\w+)$", text, re.M))
    samples: dict[str, list[tuple[dict[str, str], float]]] = {name: [] for name in kinds}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum)$", "", sample.name)
            if name.endswith("_count") and name[:-6] in kinds:
                name = name[:-6]
            if name in kinds and (sample.name == name or sample.name.endswith("_count")):
                samples[name].append((dict(sample.labels), sample.value))
    return Scrape(kinds, samples)
