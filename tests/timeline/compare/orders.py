"""Orders and authors: what happened to a node or pod, in which order, by whom.

A life is the list of transitions of one object; the endpoints of a pod belong to the pod. The lives of the record give rules, and ours
must keep them: a transition that every real life has, every life of ours has; one that no real life has, none of ours has; where one came
before another in every real life that has both, it does so here; and who wrote it here wrote it there too.

Pure: rows in, verdicts out.
"""
import collections
import itertools

# Two kinds arrive by two watches: the recorder may see them in the wrong order by this much.
BETWEEN_WATCHES_SECONDS = 0.1
# Controllers write these statuses as changes merge: the numbers in between differ from run to run. Who writes them is compared.
COUNTED = {'Deployment', 'ReplicaSet', 'DaemonSet'}
# An order that fewer lives show is chance.
LIVES_MIN = 3
TOLERANCES = ('t0', 't10', 't30', 't300', 'tinf', 'ds')


def transition(row):
    """Kind, field, from and to, without what names a single object."""
    kind, what = row['kind'], row['what']
    if kind == 'Event':
        return kind, what, None, row.get('src')
    if kind in COUNTED:
        return kind, what, None, None
    if what == 'node':
        return kind, what, None, 'a node'
    return kind, what, words(row.get('from')), words(row.get('to'))


def words(value):
    return ' '.join(value) if isinstance(value, list) else value


def lives(rows):
    """{(experiment, unit, class): [life]}, a life being [(t, kind, transition, user)]."""
    objects = collections.defaultdict(list)
    for row in rows:
        if row['what'] != 'write':
            of_event = row['kind'] == 'Event' and row['to'].partition('/')[2]
            objects[row['x'], row['unit'], row.get('pod') or of_event or row['name']].append(row)
    found = collections.defaultdict(list)
    for (x, unit, name), its_rows in objects.items():
        its_rows.sort(key=lambda row: row['t'])
        life = [(row['t'], row['kind'], transition(row), user(row)) for row in its_rows]
        found[x, unit_class(x, unit), object_class(name, its_rows)].append(life)
    return found


def user(row):
    """The account. The experiment itself is the kubelet of all nodes, and the operator."""
    name = row.get('user', '')
    if name not in ('fleet', 'operator', 'admin'):
        return name
    return 'kubelet' if row.get('verb') in ('patch/status', 'delete') else 'operator'


def unit_class(x, unit):
    """Nodes that die one by one are samples of one thing; any other unit is itself."""
    if x in ('1', '2a', '2b', '9'):
        return ''
    return unit.partition(' ')[2] if x == '3' else unit


def object_class(name, rows):
    kinds = {row['kind'] for row in rows}
    if 'Pod' not in kinds and not any(row.get('pod') for row in rows):
        return min(kinds - {'Slice', 'Event'}, default=min(kinds)).lower()
    is_new = any(row['kind'] == 'Pod' and row['what'] == 'object' and row.get('to') == 'created' for row in rows)
    tolerance = next((part for part in name.split('-') if part in TOLERANCES), '')
    return f'{"new" if is_new else "old"} pod {tolerance}'.strip()


def verdicts(recorded, ours):
    """Rows (experiment, unit and class, number of rules, complaints) for each class of lives."""
    real, mine = lives(recorded), lives(ours)
    for key in sorted(set(real) | set(mine)):
        x, unit, kind = key
        label = f'{unit}: {kind}' if unit else kind
        if key not in mine:
            yield x, label, 0, [f'none here, {len(real[key])} on the real one']
        elif key not in real:
            yield x, label, 0, [f'{len(mine[key])} here, none on the real one']
        else:
            yield x, label, *judge(real[key], mine[key], who_wrote(real, kind))


def judge(real, mine, authors):
    sets = [{what for _, _, what, _ in life} for life in real]
    always, ever = set.intersection(*sets), set.union(*sets)
    before = orders(real)
    complaints = collections.Counter()
    for life in mine:
        have = {what for _, _, what, _ in life}
        said = {f'missing: {show(what)}' for what in always - have}
        said |= {f'never on the real one: {show(what)}' for what in have - ever}
        said |= {f'{show(what)} by {who or "nobody known"}, on the real one by {" or ".join(sorted(authors[what]))}'
                 for _, _, what, who in life if what in authors and who not in authors[what]}
        said |= {f'{show(a)} comes after {show(b)}' for a, b in before if is_after(firsts(life), a, b)}
        complaints.update(said)
    return len(always) + len(authors) + len(before), [f'{text} ({n} of {len(mine)})' for text, n in sorted(complaints.items())]


def who_wrote(real, kind):
    """Who made each transition of this class of objects, in whatever unit of the experiment."""
    found = collections.defaultdict(set)
    for (_, _, other), its_lives in real.items():
        for life in its_lives if other == kind else ():
            for _, _, what, who in life:
                found[what].add(who)
    return found


def firsts(life):
    found = {}
    for t, kind, what, _ in life:
        found.setdefault(what, (t, kind))
    return found


def is_after(first, a, b):
    if a not in first or b not in first:
        return False
    slack = 0 if first[a][1] == first[b][1] else BETWEEN_WATCHES_SECONDS
    return first[a][0] > first[b][0] + slack


def orders(real):
    """Pairs (a, b): a was first seen before b in every real life that has both."""
    seen = [firsts(life) for life in real]
    pairs = set()
    for a, b in itertools.permutations(sorted(set().union(*seen), key=str), 2):
        both = [(one[a][0], one[b][0]) for one in seen if a in one and b in one]
        if len(both) >= min(LIVES_MIN, len(real)) and all(first < second for first, second in both):
            pairs.add((a, b))
    return pairs


def show(what):
    kind, field, old, new = what
    if kind == 'Event' or (old is None and new is None):
        return f'{kind} {field}'
    return f'{kind} {field} {"" if old is None else old}→{"gone" if new is None else new}'
