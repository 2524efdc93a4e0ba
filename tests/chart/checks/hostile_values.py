"""Text that would break YAML if it were pasted into it: wherever a value may be any text, these must be refused or stand in
the manifests as they are, and change nothing else.

For each hostile text it is put wherever text can stand: as each string of values.yaml, as key and value of each free map, as
entry of each list. Where it is refused it is taken out again; what is left must give manifests of the same shape as a harmless
text in the same places."""

import json
import re
import tempfile

import chart
from checks import bad_values

HOSTILE = {
    "colon": ": x",
    "line": "a\nb: c\n- d",
    "document": "a\n---\nkind: Secret",
    "template": "{{ .Release.Name }}",
    "quote": "a\"b'c",
    "comment": "a # b",
    "anchor": "&a *b !!binary",
    "number": "0123",
    "null": "null",
    "long": "a" * 300,
    "unicode": "\u00e9\u2028\u0000",
}
HARMLESS = "harmless"
# These hold YAML and templates, by what they are for.
NOT_TEXT = {"extraObjects"}
# Rounds of taking out what is refused. One is enough for the schema, one for the sentences of the chart.
ROUNDS_MAX = 8


def check(outcome):
    places = sorted(place for place in strings(chart.defaults(), ()) if place[0] not in NOT_TEXT)
    cells = [(mode, name) for mode in ("namespace", "cluster") for name in HOSTILE]
    taken = chart.at_once(lambda cell: one(outcome, places, *cell), cells)
    count = len(places) * len(cells)
    outcome.summary = (
        f"{len(HOSTILE)} hostile texts in {len(places)} places of the values, both modes: {count - sum(taken)} refused, "
        f"{sum(taken)} rendered as text"
    )


def one(outcome, places, mode, name):
    """Answers in how many places the text is taken."""
    text = HOSTILE[name]
    places = accepted(outcome, places, mode, text)
    for place, wrong, command in broken(places, mode, text):
        outcome.failed(f"{mode} mode, {'.'.join(place)}, {name}: {wrong}", command)
    return len(places)


def accepted(outcome, places, mode, text):
    """The places where neither the schema nor the chart refuses the text."""
    places = list(places)
    for _ in range(ROUNDS_MAX):
        refused = {tuple(str(part) for part in error.absolute_path) for error in bad_values.errors(put(mode, places, text))}
        if not refused:
            done = render(mode, places, text)
            if done.code == 0 or "execution error" not in done.err:
                return places
            refused = {tuple(key.split(".")) for key in re.findall(r"([A-Za-z][\w.]*)=", done.err)}
        left = [place for place in places if not any(concerns(path, place) for path in refused)]
        if len(left) == len(places):
            break
        places = left
    outcome.failed(f"{mode} mode, {text!r}: cannot tell where it is refused: {sorted(refused)}")
    return []


def concerns(path, place):
    """Whether an error at a path is of what was put at a place."""
    above = place[:-1] if place[-1] in ("*key*", "*value*", "*entry*") else place
    return path[: len(above)] == above


def broken(places, mode, text):
    """(place, what is wrong, command) where the text changes more than itself: found by halves."""
    if not places:
        return
    done, harmless = render(mode, places, text), render(mode, places, HARMLESS)
    wrong = compare(done, harmless, text)
    if wrong is None:
        return
    if len(places) == 1:
        yield places[0], wrong, f"{done.command}   # values: {json.dumps(put(mode, places, text))}"
        return
    half = len(places) // 2
    yield from broken(places[:half], mode, text)
    yield from broken(places[half:], mode, text)


def compare(done, harmless, text):
    if harmless.code != 0:
        # A harmless word is no duration, no address: nothing to compare with, but the text must give YAML.
        harmless = done
    if done.code != 0:
        return None if "execution error" in done.err else f"broken rather than refused: {done.why}"
    try:
        found = [shape(item, text) for item in chart.documents(done.out)]
    except Exception as error:
        return f"no YAML: {error}"
    if harmless is not done and found != [shape(item, HARMLESS) for item in chart.documents(harmless.out)]:
        return "it changes the shape of the manifests"
    return None


def render(mode, places, text):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(put(mode, places, text), file)
        file.flush()
        return chart.template("4", "--values", file.name)


def base(mode):
    """Everything that has texts of its own is switched on."""
    return {
        "deployment": {"mode": mode},
        "metrics": {"serviceMonitor": {"enabled": True}, "service": {"enabled": True}},
        "networkPolicy": {"enabled": True},
    }


def strings(values, above):
    """Paths of values.yaml where text can stand."""
    for key, value in values.items():
        path = (*above, key)
        if value == {}:
            yield (*path, "*key*")
            yield (*path, "*value*")
        elif isinstance(value, dict):
            yield from strings(value, path)
        elif value == []:
            yield (*path, "*entry*")
        elif isinstance(value, str):
            yield path


def put(mode, places, text):
    """The values with the text at the places."""
    values = base(mode)
    for *above, last in places:
        inner = values
        for key in above[:-1]:
            inner = inner.setdefault(key, {})
        if last == "*key*":
            inner.setdefault(above[-1], {})[text] = "x"
        elif last == "*value*":
            inner.setdefault(above[-1], {})["key"] = text
        elif last == "*entry*":
            inner[above[-1]] = [text]
        elif above:
            inner.setdefault(above[-1], {})[last] = text
        else:
            inner[last] = text
    return values


def shape(item, text):
    """The object without its texts: keys and kinds of values. The text itself as a key counts as any key."""
    if isinstance(item, dict):
        return {"*" if key == text else key: shape(value, text) for key, value in item.items()}
    if isinstance(item, list):
        return [shape(value, text) for value in item]
    return type(item).__name__
