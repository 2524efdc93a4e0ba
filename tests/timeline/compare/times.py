"""Times: every value of ours lies in what the real one showed, widened by one period of the controller in question.

Pure: rows in, verdicts out.
"""
import re

# The period of whoever decides the moment; `node` is the option --node-monitor-period of the experiment. The first match counts.
PERIODS = [
    (r'kubelet', 10.0, "the kubelet's status tick"),
    (r'out-of-service|node object deleted', 20.0, 'the pass of PodGC'),
    (r'^(reachable|recovery) ->', 10.0, "the kubelet's status tick"),
    (r'NoExecute gone', 'node', 'the pass over the nodes'),
    (r'fault -> NoExecute|taint unreachable:NoExecute|taint removed', 10.0, 'one taint each 10 s and zone'),
    (r'NoExecute -> deletionTimestamp', 1.0, 'a timer; no period'),
    (r'fault -> (deletionTimestamp|replacement)|^fault|^last renewal', 'node', 'the pass over the nodes'),
    (r'Deployment of 500|500 pods', 5.0, '20 writes a second'),
    (r'slice|flip|change of the same Service|Service while', 1.0, 'the retry of the slice controller'),
    (r'', 1.0, 'no period; one second for the machine'),
]


# What the experiment chooses itself, and pauses that only some recorded runs tried.
CHOSEN = re.compile(r'last renewal -> fault|second change of the same Service (2|15|30|100) ms')


def period(name, node_period):
    for pattern, seconds, why in PERIODS:
        if re.search(pattern, name):
            return (node_period if seconds == 'node' else seconds), why
    raise AssertionError('the last pattern matches everything')


# A fault comes at any moment between two renewals of a Lease: so far from its neighbour the next sample may lie.
RENEWAL_SECONDS = 10.4


def verdicts(recorded, ours, node_period):
    """One row for each metric: (experiment, name, real, ours, allowed, why, complaint or None)."""
    keys = dict.fromkeys((row['x'], row['metric']) for row in recorded + ours if not CHOSEN.match(row['metric']))
    for x, name in keys:
        there = [row for row in recorded if (row['x'], row['metric']) == (x, name)]
        real = sorted(value for row in there for value in row.get('values', ()))
        mine = sorted(value for row in ours if (row['x'], row['metric']) == (x, name) for value in row.get('values', ()))
        seconds, why = period(name, node_period)
        if name.startswith('fault') and real:
            seconds, why = round(seconds + RENEWAL_SECONDS / len(real), 1), why + ', and the next renewal'
        yield x, name, real, mine, seconds, why, complaint(real, [row['n'] for row in there], mine, seconds)


def complaint(real, counts, mine, seconds):
    if not counts:
        return 'the real one has no such row'
    if not real and not mine:
        return None
    if not real:
        return f'never on the real one, here {len(mine)} times'
    # Rates and zones decide how many there are: one more or less, or an eighth.
    slack = max(1, max(counts) // 8)
    if not min(counts) - slack <= len(mine) <= max(counts) + slack:
        return f'here {len(mine)} times, on the real one {min(counts)} to {max(counts)} times'
    if mine and mine[0] < real[0] - seconds:
        return f'{mine[0]:.2f} s is earlier than allowed'
    if mine and mine[-1] > real[-1] + seconds:
        return f'{mine[-1]:.2f} s is later than allowed'
    return None
