"""Reads what was recorded and what was seen here, and tells where they differ: on standard output, and as a page of docs."""
import json
import os
import re

from compare import notes, orders, times

# Differences that are decided, by experiment and row, with the reason. They are shown, and do not count.
DECIDED = {
    ('services', 'dual stack'): 'the local cluster has one family, IPv4',
    ('services', 'slice deleted by hand'): 'the local cluster has one family, IPv4',
    ('services', 'one of the two is removed: old pod'): 'a pod that goes at once is seen terminating or not, by chance',
    ('services', 'pod removed: old pod'): 'a pod that goes at once is seen terminating or not, by chance',
    **{('grace50-period5', f'gap {gap}'): 'whether a gap this long is noticed, and for how long, is chance of the pass'
       for gap in ('51.5', '52.5', '53.5', '54.5', '56')},
    **{('grace50-period5', f'o{n}-v: old pod ds'): 'taint eviction and the DaemonSet controller both delete; who is first is chance'
       for n in range(1, 5)},
    ('layout', '300 of 1000 removed at random'): 'changes that come together share a write, and the API is faster here',
    ('layout', 'scaled to 100'): 'changes that come together share a write, and the API is faster here',
    **{(part, 'fault -> deletionTimestamp'): 'which nodes held a pod that goes at once is chance of the scheduler'
       for part in ('partial40', 'zone')},
}

HEAD = '''# Timelines: a real control plane and ours

Made by `tests/timeline/timeline.py compare --markdown docs/timelines.md`; `tests/timeline/README.md` tells how to read it. Times are
seconds, least / median / most. *Allowed* is how far outside of the real range a value of ours may lie: one period of who decides.
'''


def rows_of(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def belongs(run, experiment):
    """`flips3-1` and `flips3` are runs of the experiment flips3; `flips3-batch500` is another experiment."""
    return re.fullmatch(re.escape(experiment) + r'(-\d+)?', run) is not None


def node_period(experiment):
    match = re.search(r'period(\d+)', experiment)
    return float(match.group(1)) if match else 5.0


def compare(settings):
    recorded = rows_of(settings.recorded)
    experiments = sorted(name[:-len('.jsonl')] for name in os.listdir(settings.work) if name.endswith('.jsonl'))
    if not experiments:
        raise SystemExit(f'nothing to compare in {settings.work}; run the experiments first')
    page, bad = [], 0
    for experiment in experiments:
        real = [row for row in recorded if belongs(row['run'], experiment)]
        if not real:
            raise SystemExit(f'{experiment} is not in the record')
        section, complaints = compare_one(experiment, real, rows_of(os.path.join(settings.work, experiment + '.jsonl')))
        page += section
        bad += complaints
    print('\n'.join(page))
    if settings.markdown:
        with open(settings.markdown, 'w') as file:
            file.write(HEAD + '\n'.join(page) + '\n')
    print(f'timelines: {len(experiments)} experiments, {bad} differences')
    return 1 if bad else 0


def compare_one(experiment, real, mine):
    def having(key):
        return [row for row in real if key in row], [row for row in mine if key in row]

    tables = [
        (['', 'seconds', 'n', 'real', 'n', 'ours', 'allowed', ''], [
            ([x, name, len(a), spread(a), len(b), spread(b), f'± {allowed:g}, {why}'], complaint)
            for x, name, a, b, allowed, why, complaint in times.verdicts(*having('metric'), node_period(experiment))]),
        (['', 'life of', 'rules of presence, order and author', ''], [
            ([x, label, rules], '; '.join(complaints) or None)
            for x, label, rules, complaints in orders.verdicts(*having('unit'))]),
        (['', '', 'real', 'ours', 'allowed', ''], [
            ([x, name, a, b, allowed], complaint) for x, name, a, b, allowed, complaint in notes.verdicts(*having('note'))]),
        (['change of a Service', 'slices afterwards', ''], [
            ([name, slices], complaint) for name, slices, complaint in notes.services(*having('note'))]),
    ]
    lines, bad = ['', f'## {experiment}'], 0
    for head, rows in tables:
        if rows:
            lines += ['', row_text(head), row_text(['---'] * len(head))]
            for cells, complaint in rows:
                decided = decision(experiment, cells)
                bad += complaint is not None and decided is None
                lines.append(row_text([*cells, verdict(complaint, decided)]))
    return lines, bad


def decision(experiment, cells):
    names = {name for cell in cells for name in (str(cell), str(cell).partition(':')[0])}
    return next((why for (where, name), why in DECIDED.items() if where == experiment and name in names), None)


def verdict(complaint, decided):
    if complaint is None:
        return 'equal'
    return f'differs, decided: {decided}' if decided else f'**differs**: {complaint}'


def row_text(cells):
    return '| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in cells) + ' |'


def spread(values):
    if not values:
        return '–'
    return ' / '.join(f'{value:.3g}' if abs(value) < 10 else f'{value:.1f}' for value in (values[0], values[len(values) // 2], values[-1]))
