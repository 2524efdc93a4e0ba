"""Timeline experiment 5: which endpoints are in which slice."""
import json
import random
import time

import clock
from lab import Bare, layout, settle, setup, writes


def run(settings, experiment):
    lab = setup(settings, experiment, kinds=['Node', 'Pod', 'Slice', 'Event', 'Deployment', 'Service'])
    lab.ns('l')
    b = Bare(lab, 'l')
    lab.svc('l', 's', {'app': 'l'})
    pool = lab.fleet.timers.pool
    have = 0
    for n in (1, 100, 250, 1000):
        t0 = clock.now()
        list(pool.map(lambda i: b.make(f'p{i:04d}', {'app': 'l'}, 'n%02d' % (i % 20)), range(have, n)))
        t1 = clock.now()
        have = n
        lab.wait(lambda: lab.ready_eps('l', 's') == n, 60, 0.1)
        settle(lab, 'l')
        last = max(r['t'] for r in lab.rec.since(t0, kind='Slice', ns='l'))
        lab.note('5', f'{n} endpoints: layout', layout(lab, 'l', 's'))
        lab.note('5', f'{n} endpoints: cost', {**writes(lab, 'l', t0), 'pods written in': round(t1 - t0, 2),
                                               'last slice write after last pod': round(last - t1, 3)})
        big = max(lab.slices('l', 's'), key=lambda s: len(s.get('endpoints') or ()))
        o = lab.api.get('/apis/discovery.k8s.io/v1/namespaces/l/endpointslices/' + big['metadata']['name'])
        o['metadata'].pop('managedFields', None)
        lab.note('5', f'{n} endpoints: biggest slice, JSON bytes without managedFields',
                 [len(o.get('endpoints') or ()), len(json.dumps(o, separators=(',', ':')))])
    def step(name, f):
        t0 = clock.now()
        f()
        time.sleep(1)
        settle(lab, 'l')
        rows = lab.rec.since(t0, kind='Slice', ns='l')
        lab.note('5', name, {**writes(lab, 'l', t0), 'layout': layout(lab, 'l', 's'),
                             'times': [round(r['t'] - t0, 3) for r in rows if r['what'] == 'write'][:12]})
    step('one pod not ready', lambda: b.status('p0500', False))
    step('one pod ready', lambda: b.status('p0500', True))
    def newip():
        b.ip['p0501'] = [lab.fleet.next_ip('10.244')]
        b.status('p0501', True)
    step('one pod changes its IP in place', newip)
    step('one pod removed', lambda: b.drop('p0502'))
    step('one pod added', lambda: b.make('q0000', {'app': 'l'}, 'n01'))
    def swap():
        b.drop('p0503')
        b.make('q0001', {'app': 'l'}, 'n01')
    step('one pod removed and another added at once', swap)
    def drop300():
        r = random.Random(1)
        self_names = r.sample([p['metadata']['name'] for p in lab.pods('l')], 300)
        list(pool.map(b.drop, self_names))
    step('300 of 1000 removed at random', drop300)
    step('1 added', lambda: b.make('q0002', {'app': 'l'}, 'n01'))
    step('50 added', lambda: list(pool.map(lambda i: b.make(f'r{i:03d}', {'app': 'l'}, 'n02'), range(50))))
    def to100():
        names = sorted(p['metadata']['name'] for p in lab.pods('l'))
        random.Random(2).shuffle(names)
        list(pool.map(b.drop, names[100:]))
    step('scaled to 100', to100)
    step('1 added again', lambda: b.make('q0003', {'app': 'l'}, 'n01'))
    lab.close()
