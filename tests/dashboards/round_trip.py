"""Grafana's own types know every part of the dashboards: what is read and written again by its SDK is the same.

A field that is misspelt, or one that Grafana does not have, does not come back.
"""

import json

import model
from grafana_foundation_sdk.builders import (  # noqa: F401  (each registers its kind of panel)
    bargauge,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# What the data source of Prometheus reads of an annotation; the SDK knows only what all data sources have.
OF_PROMETHEUS = frozenset({"step", "titleFormat"})


def differences(ours, theirs, place=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            if key in OF_PROMETHEUS and ".annotations." in place:
                continue
            if key not in theirs:
                # What is empty may be left out.
                if ours[key] not in (None, [], {}, ""):
                    yield f"{place}.{key} is not known to Grafana"
            else:
                yield from differences(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif ours != theirs:
        yield f"{place} is {ours!r} to us and {theirs!r} to Grafana"


def main():
    plugins.register_default_plugins()
    found = []
    for name, ours in model.all_dashboards().items():
        theirs = json.loads(encoder.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(ours)))
        found += differences(ours, theirs, name)
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
