"""Timeline experiment 4: many nodes at once, and what the state of a zone does to evictions."""
import collections
import time

import clock
from experiments.nodes import gauge, node_rows
from lab import Lab, toleration
from recorder import cond


def run(settings, experiment, part):
    """`part` says how many nodes there are and how many of them are cut off for how long."""
    n, cutn, zones, hold = {'all': (60, 60, 1, 150), 'partial60': (60, 36, 1, 230), 'partial40': (40, 24, 1, 150),
                            'zone': (60, 30, 2, 150), 'three': (3, 2, 1, 110)}[part]
    lab = Lab(settings, experiment)
    rec, fleet = lab.rec, lab.fleet
    names = ['n%02d' % i for i in range(n)]
    for i, x in enumerate(names): fleet.add(x, 'z%d' % (i * zones // n) if zones > 1 else '')
    fleet.register()
    lab.ns('a')
    lab.wait(lambda: all(cond(o, 'Ready') == 'True' and not o['spec'].get('taints')
                         for o in list(rec.obj['Node'].values())), 90, what='nodes ready')
    lab.dep('a', 't300', n, {'app': 't300'}, ann={'timeline/stop': '2'})
    lab.dep('a', 't0', n // 3, {'app': 't0'}, tol=toleration(0), ann={'timeline/stop': '2'})
    lab.ds('a', 'ds', {'app': 'ds'})
    for c in ('t300', 't0', 'ds'): lab.svc('a', c, {'app': c})
    lab.wait(lambda: lab.ready_eps('a', 't300') == n and lab.ready_eps('a', 'ds') == n
             and lab.ready_eps('a', 't0') == n // 3, 120, 0.2, 'pods')
    time.sleep(12)
    dead = names[:cutn]
    t0 = clock.now()
    for x in dead: fleet.nodes[x].cut()
    track = []

    def sample():
        track.append((round(clock.now() - t0, 1), {c: lab.ready_eps('a', c) for c in ('t300', 't0', 'ds')}))

    for _ in range(hold): time.sleep(1); sample()
    h = clock.now()
    for x in dead: fleet.nodes[x].heal()
    for _ in range(60): time.sleep(1); sample()

    def per(f, t, t1=None): return [gauge(rec, t, f(x, t, t1)) for x in dead]

    lab.metric('4', 'fault -> node Unknown', per(lambda x, t, e: node_rows(rec, x, t, e)['unknown'], t0, h))
    lab.metric('4', 'fault -> NoSchedule taint', per(lambda x, t, e: node_rows(rec, x, t, e)['nosched'], t0, h))
    lab.metric('4', 'fault -> NoExecute taint', per(lambda x, t, e: node_rows(rec, x, t, e)['noexec'], t0, h))
    lab.metric('4', 'NoExecute taint removed before recovery', [
        r['t'] - t0 for r in rec.since(t0, h, kind='Node', what='taints')
        if 'unreachable:NoExecute' in (r['from'] or ()) and 'unreachable:NoExecute' not in r['to']])
    lab.metric('4', 'fault -> pod Ready=False', [r['t'] - t0 for r in rec.since(t0, h, kind='Pod', what='Ready', to='False')
                                                 if r['mgr']])
    lab.metric('4', 'fault -> endpoint not ready', [r['t'] - t0 for r in rec.since(t0, h, kind='Slice', what='endpoint')
                                                    if r['from'] and r['from'][0] == 'R' and (r['to'] or '-')[0] != 'R'])
    lab.metric('4', 'fault -> deletionTimestamp', [r['t'] - t0 for r in rec.since(t0, h, kind='Pod', what='deletion', to=True)])
    lab.metric('4', 'recovery -> node Ready', per(lambda x, t, e: rec.first(t, kind='Node', name=x, what='Ready', to='True'), h))
    lab.metric('4', 'recovery -> NoSchedule gone', per(lambda x, t, e: rec.first(
        t, lambda r: 'unreachable:NoSchedule' not in r['to'], kind='Node', name=x, what='taints'), h))
    lab.metric('4', 'recovery -> pod Ready=True', [r['t'] - h for r in rec.since(h, kind='Pod', what='Ready', to='True')])
    lab.metric('4', 'recovery -> endpoint ready', [r['t'] - h for r in rec.since(h, kind='Slice', what='endpoint')
                                                   if (r['to'] or '-')[0] == 'R'])
    lab.metric('4', 'NoExecute after recovery', [r['t'] - h for r in rec.since(h, kind='Node', what='taints')
                                                 if 'unreachable:NoExecute' in r['to'] and 'unreachable:NoExecute' not in (r['from'] or ())])
    prev = None
    keep = []
    for t, s in track:
        if s != prev: keep.append([t, s['t300'], s['t0'], s['ds']])
        prev = s
    lab.note('4', 'ready endpoints over time [s, t300, t0, ds]', keep)
    lab.note('4', 'recovery at', round(h - t0, 1))
    lab.note('4', 'pods Unknown-node writes by', collections.Counter(
        (r['what'], r['to'] if isinstance(r['to'], str) else str(r['to'])[:60], r.get('user')) for r in lab.who(
            rec.since(t0, h, kind='Node'))).most_common(12))
    lab.save('4', part, [r for r in rec.since(t0, h + 60, kind='Node')], t0)
    lab.save('4', part, [r for r in rec.since(t0, h + 60, kind='Pod')][:200], t0)
    lab.close()
