"""What the chart refuses: the table bad-values.yaml. Both majors of helm refuse each row and name the key, and it is refused by
whom the row says: the schema, a sentence of the templates, or each of them alone."""

import functools
import json
import re
import tempfile

import chart

TABLE = chart.ROOT / "tests/chart/bad-values.yaml"
# A table that shrinks below this has lost something.
ROWS_MIN = 30
BY = {"schema": {"schema"}, "chart": {"chart"}, "both": {"schema", "chart"}}
# What helm says when a template fails rather than refuses.
BROKEN = ["nil pointer", "panic", "can't evaluate", "YAML parse error", "wrong type", "invalid value"]


def check(outcome):
    rows = chart.load(TABLE.read_text())
    if len(rows) < ROWS_MIN:
        outcome.failed(f"{TABLE.name} has {len(rows)} rows")
    with tempfile.TemporaryDirectory() as folder:
        cells = []
        for number, row in enumerate(rows):
            file = f"{folder}/{number}.yaml"
            with open(file, "w") as out:
                json.dump(row["values"], out)
            cells += [(row, major, "schema", file) for major in chart.MAJORS if "schema" in BY[row["by"]]]
            cells += [(row, major, "chart", file) for major in chart.MAJORS if row["by"] == "chart"]
            cells += [(row, "4", "chart", file)] if row["by"] == "both" else []
        runs = chart.at_once(lambda cell: refuse(*cell[1:]), cells)
    for (row, major, by, file), done in zip(cells, runs):
        wrong = judge(row, by, done)
        if wrong:
            # The file is gone when somebody looks; what was in it stands here.
            command = done.command.replace(file, f"<(echo '{json.dumps(row['values'])}')")
            outcome.failed(f"{row['names']}, helm {major}, by the {by}: {wrong}", command)
    said = "\n".join(done.err for (_, _, by, _), done in zip(cells, runs) if by == "chart")
    for sentence in sentences():
        if sentence not in said:
            outcome.failed(f"no row gets the sentence of templates/_refusals*.tpl: {sentence}")
    for row in rows:
        refused = any(True for _ in errors(row["values"]))
        if refused != ("schema" in BY[row["by"]]):
            outcome.failed(f"{row['names']}: the schema {'refuses' if refused else 'accepts'} {json.dumps(row['values'])}")
    count = {by: sum(by in BY[row["by"]] for row in rows) for by in ("schema", "chart")}
    outcome.summary = (
        f"{len(rows)} bad values are refused by helm {' and '.join(chart.MAJORS)} with the key's name: "
        f"{count['schema']} by the schema, {count['chart']} by a sentence of the templates"
    )


def refuse(major, by, file):
    """As helm refuses it first; the templates have the word when the schema has not."""
    return chart.template(major, "--values", file, *(["--skip-schema-validation"] if by == "chart" else []))


def judge(row, by, done):
    """What is wrong with how a row was refused, or None."""
    if done.code == 0:
        return "accepted"
    if any(word in done.err for word in BROKEN):
        return f"broken rather than refused: {done.why}"
    if not names(row["names"], done.err):
        return f"refused without the key: {done.why}"
    if {"schema": "meet the specifications of the schema", "chart": "execution error"}[by] not in done.err:
        return f"refused, but not by the {by}: {done.why}"
    for said in row.get("says", []):
        if said not in done.err:
            return f"does not say {said!r}: {done.why}"
    return None


def sentences():
    """What each refusal of the templates says, or its longest part between values."""
    for line in "".join(file.read_text() for file in sorted((chart.CHART / "templates").glob("_refusals*.tpl"))).splitlines():
        _, refusal, arguments = line.partition('include "tiergate.refusal" ')
        if refusal:
            texts = re.findall(r'"((?:\\.|[^"\\])*)"', arguments)
            yield max(re.split(r"%[a-z]", max(texts, key=len)), key=len).strip()


def names(key, text):
    """Whether a refusal names a key, in the words of either major: a.b.c, /a/b/c, or c as a property of a.b."""
    above, _, last = key.rpartition(".")
    for line in text.splitlines():
        # A pointer has slashes for dots, and ~1 for the slashes in keys.
        dotted = line.replace("/", ".").replace("~1", "/")
        if key in line or f".{key}" in dotted:
            return True
        if last in line and any(word in line for word in ("property", "properties", "is required")) and (above in line or f".{above}" in dotted):
            return True
    return False


@functools.cache
def validator():
    import jsonschema

    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def errors(values):
    """What the schema has against values."""
    return validator().iter_errors(merge(chart.defaults(), values))


def merge(below, above):
    """Values as helm puts them over the defaults: maps together, a null takes the key out."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(below.get(key), value)
    return merged
