"""Counts and layouts: rollouts, drains, slices of a Service, slices of many pods. Pure: notes in, verdicts out."""
import collections


def verdicts(recorded, ours):
    """Rows (experiment, name, real, ours, allowed, complaint or None) for the notes that have a rule below."""
    real = {(row['x'], row['note']): row['value'] for row in recorded}
    mine = {(row['x'], row['note']): row['value'] for row in ours}
    for key, value in real.items():
        rule = next((rule for ending, rule in RULES if key[1].endswith(ending)), None)
        if rule is None:
            continue
        if key in mine:
            yield (*key, *rule(value, mine[key]))
        else:
            yield (*key, '', '', '', 'not seen here')


def rollout(real, mine):
    """Fewest and most ready, most endpoints, seconds, slice writes."""
    names = ('fewest ready', 'most ready', 'most endpoints', 'seconds', 'slice writes')
    slack = (1, 1, 2, max(2.0, real[3] / 4))
    bad = [name for name, a, b, by in zip(names, real, mine, slack) if abs(a - b) > by]
    # Changes that come together share a write: the faster the API, the fewer or the more there are.
    if not real[4] / 3 <= mine[4] <= real[4] * 1.5:
        bad.append(names[4])
    return join(real), join(mine), 'each ± ' + join(slack) + ' · a third to one and a half', f'differs in {", ".join(bad)}' if bad else None


def layout(real, mine):
    """How many slices there are; how full each is depends on when pods came."""
    a, b = ([size for _, size in value] for value in (real, mine))
    bad = sum(a) != sum(b) or abs(len(a) - len(b)) > max(1, len(a) // 10) or max(b, default=0) > 100
    return join(a), join(b), '± 1 slice', 'another layout' if bad else None


def step(real, mine):
    """What one change costs."""
    a, b = real['slice writes'], mine['slice writes']
    return f'{a} writes', f'{b} writes', '± 1, or half', 'differs' if abs(a - b) > max(1, a // 2) else None


def equal(real, mine):
    return str(real), str(mine), 'the same', None if real == mine else 'differs'


def evictions(real, mine):
    """The answers; two that are asked at once may be answered in either order."""
    a, b = ([code for _, _, code in value] for value in (real, mine))
    bad = collections.Counter(a) != collections.Counter(b) or a[-1] != b[-1]
    return join(a), join(b), 'the same', 'differs' if bad else None


def drain(real, mine):
    return f'{real:g} s', f'{mine:g} s', '± 5 s, the pause of kubectl', None if abs(real - mine) <= 5 else 'differs'


RULES = [('duration, slice writes', rollout), (': layout', layout), ('cordon: slice writes', equal), ('evictions', evictions),
         ('drain: seconds', drain)] + [(name, step) for name in (
             'one pod not ready', 'one pod ready', 'IP in place', 'one pod removed', 'one pod added', 'added at once', 'removed at random',
             '1 added', '50 added', 'scaled to 100', '1 added again')]


def join(values):
    return ' · '.join(f'{value:g}' for value in values)


def services(recorded, ours):
    """Rows (change, slices of ours afterwards, complaint or None): what a change of a Service leaves, and which endpoints it moved."""
    real, mine = ({row['note']: row['value'] for row in rows if row['x'] == '8'} for rows in (recorded, ours))
    for name, value in real.items():
        if name not in mine:
            yield name, '', 'not seen here'
            continue
        a, b = shape(value), shape(mine[name])
        yield name, b[0], None if a == b else f'on the real one {a[0]}; moved there {a[1]}, here {b[1]}'


def shape(value):
    """Slices by family, ports, labels and the state of each endpoint; and the endpoints that moved."""
    slices = [f'{one["family"]} {ports(one["ports"])}: {states(one["endpoints"])} ({len(one["labels"])} labels)' for one in value['slices']]
    moved = {}
    for _, _, what, pod, old, new in value['rows']:
        if what == 'endpoint':
            moved[pod] = (moved.get(pod, (old,))[0], new)
    return '; '.join(sorted(slices)) or 'no slice', sorted(f'{pod} {old or ""}→{new or "gone"}' for pod, (old, new) in moved.items() if old != new)


def ports(value):
    return ', '.join(sorted(f'{name or ""}:{port}' for name, port in value)) or 'no ports'


def states(endpoints):
    return ', '.join(f'{pod} {state}' for pod, state in sorted(endpoints.items())) or 'none'
