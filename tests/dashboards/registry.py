"""Which metrics the tiers have, by docs/metrics.md, which is written from the code."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<unit>\w*) \| (?P<labels>[^|]*) \|", re.MULTILINE)

# Prometheus itself attaches these two to every series. Other labels of targets (pod, namespace, service, …) differ between
# ways to scrape, so no dashboard may need them.
TARGET_LABELS = frozenset({"instance", "job"})


@dataclass(frozen=True)
class Series:
    """Series of one name: what kind they are of, and which labels they have."""

    kind: str
    labels: frozenset


def read(page=PAGE):
    """Series by name, those of histograms as Prometheus keeps them."""
    series = {}
    for row in ROW.finditer(page.read_text()):
        labels = frozenset(re.findall(r"`(\w+)`", row["labels"])) | {"tier"} | TARGET_LABELS
        name, kind = row["name"], row["type"]
        if kind == "histogram":
            series[f"{name}_bucket"] = Series("counter", labels | {"le"})
            series[f"{name}_sum"] = Series("counter", labels)
            series[f"{name}_count"] = Series("counter", labels)
        else:
            series[name] = Series(kind, labels)
    if not series:
        raise SystemExit(f"{page} names no metric")
    return series
