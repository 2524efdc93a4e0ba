"""values.yaml, values.schema.json and README.md know the same keys: a key of one that another lacks is an error, be it a key
without a schema (which would be refused), a schema without a default, or a default that its own schema refuses."""

import json

import chart
from checks import bad_values

# The names that the ingress chart of openstack-helm had for some keys. They have no defaults: who sets one, means it.
OLDER = {"deployment.cluster", "deployment.type", "monitoring", "network.host_namespace", "network.vip"}
# Objects of Kubernetes and maps with defaults: the user may add what values.yaml does not name.
OPEN = {
    "containerSecurityContext", "dashboards.annotations", "dashboards.labels", "global", "nodeSelector", "podSecurityContext",
    "probes.liveness", "probes.readiness", "probes.startup", "resources",
}


def check(outcome):
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    older = set()
    keys = sorted(compare(outcome, chart.defaults(), schema, schema, "", older))
    for name in sorted(OLDER - older):
        outcome.failed(f"{name}: an older name, not in values.schema.json")
    validate(outcome, schema)
    readme(outcome, keys)
    outcome.summary = f"{len(keys)} keys of values.yaml are in the schema and in the README, and no others"


def resolve(schema, part):
    """What a part of the schema says, with what it refers to."""
    while isinstance(part, dict) and "$ref" in part:
        target = schema
        for step in part["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        part = {**target, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def compare(outcome, values, part, schema, path, older):
    """Yields the keys that are leaves of values.yaml, and reports what one side lacks."""
    if not isinstance(values, dict) or not values or path in OPEN:
        # A scalar, a list, or a map whose keys are the user's.
        yield path
        return
    if part.get("additionalProperties") is not False:
        outcome.failed(f"{path or 'the root'}: the schema takes unknown keys")
    properties = part.get("properties") or {}
    for key in sorted(values.keys() | properties.keys()):
        name = f"{path}.{key}".removeprefix(".")
        if key not in properties:
            outcome.failed(f"{name}: in values.yaml, not in values.schema.json")
        elif key in values:
            yield from compare(outcome, values[key], resolve(schema, properties[key]), schema, name, older)
        elif name in OLDER:
            older.add(name)
        else:
            outcome.failed(f"{name}: in values.schema.json, not in values.yaml")


def validate(outcome, schema):
    import jsonschema

    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    for file in [chart.CHART / "values.yaml", *(scenario.file for scenario in chart.scenarios())]:
        for error in validator(schema).iter_errors(bad_values.merge(chart.defaults(), chart.load(file.read_text()) or {})):
            outcome.failed(f"{file.relative_to(chart.ROOT)}: {error.json_path}: {error.message}")


def readme(outcome, keys):
    """Each key has a line of the table, by itself or in a key above it; and no line is of a key that is gone."""
    # What stands above are tables of other things.
    _, text = (chart.CHART / "README.md").read_text().split("\n## Parameters\n")
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    for key in keys:
        parts = key.split(".")
        covered = any(".".join(parts[:count]) in rows for count in range(1, len(parts) + 1))
        if not covered and not (key in OPEN and any(row.startswith(f"{key}.") for row in rows)):
            outcome.failed(f"{key}: not in the table of README.md", "deploy/render")
    for row in rows:
        if not any(key == row or key.startswith(f"{row}.") or (key in OPEN and row.startswith(f"{key}.")) for key in keys):
            outcome.failed(f"{row}: in the table of README.md, not in values.yaml", "deploy/render")
