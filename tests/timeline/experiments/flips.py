"""Timeline experiment 5: from the readiness of a pod to its endpoint."""
import collections
import random
import time

import clock
from lab import Bare, flip_once, layout, settle, setup, writes


def run(settings, experiment, options=(), many=False):
    lab = setup(settings, experiment, options=options)
    lab.ns('f')
    b = Bare(lab, 'f')
    lab.svc('f', 's', {'app': 'a'})
    for i in range(3): b.make(f'a{i}', {'app': 'a'}, f'n0{i}')
    lab.wait(lambda: lab.ready_eps('f', 's') == 3, 20)
    time.sleep(3)
    t0 = clock.now()
    up = {'a0': True}
    res = []
    for i in range(100):
        up['a0'] = not up['a0']
        res.append(flip_once(lab, b, 's', 'a0', up['a0']))
        time.sleep(0.2 + random.random() * 0.3)
    lab.metric('5', 'flip, 3 pods: status write', [r[0] for r in res])
    lab.metric('5', 'flip, 3 pods: write answered -> slice seen', [r[1] for r in res])
    lab.metric('5', 'flip, 3 pods: pod seen -> slice seen', [r[2] for r in res])
    # shares from the audit log
    au = lab.world.writes(t0, clock.now())
    pw = [a for a in au if a[4] == 'pods' and a[5] == 'status' and a[7] == 'a0']
    sw = [a for a in au if a[4] == 'endpointslices' and a[6] == 'f' and a[3] in ('update', 'patch')]
    lab.metric('5', 'flip, audit log: pod status stored -> slice update received', [
        next((x[0] - a[1] for x in sw if x[0] > a[0]), None) for a in pw[:100]])
    lab.metric('5', 'flip, audit log: slice update', [x[1] - x[0] for x in sw])
    lab.note('5', 'verbs on slices', collections.Counter(a[3] + ' by ' + a[2] for a in au if a[4] == 'endpointslices').most_common())
    # pairs: a second change of the same Service d ms after the first
    time.sleep(2)
    ups = {'a1': True, 'a2': True}
    for d in (0, 5, 10, 20, 50):
        lat, n = [], 24
        for i in range(n):
            for k in ups: ups[k] = not ups[k]
            f = lab.fleet.timers.pool.submit(b.status, 'a1', ups['a1'])
            time.sleep(d / 1000)
            lat.append(flip_once(lab, b, 's', 'a2', ups['a2'], 5)[1])
            f.result()
            time.sleep(1.2)
        lab.metric('5', f'second change of the same Service {d} ms after the first: answered -> slice', lat,
                   slower_than_half_a_second=sum((x or 9) > 0.5 for x in lat))
    # every pod of 3 flips 4 times a second: long run of retries
    for gap in (0.01, 0.03, 0.1, 0.3):
        lat = []
        for i in range(40):
            k = 'a%d' % (i % 3)
            up.setdefault(k, ups.get(k, True))
            up[k] = not up[k]
            b.status(k, up[k])
            lat.append((clock.now(), k, up[k]))
            time.sleep(gap)
        settle(lab, 'f')
        out = []
        for i, (t, k, v) in enumerate(lat):
            nxt = next((x[0] for x in lat[i + 1:] if x[1] == k), None)
            r = lab.rec.first(t - 0.05, lambda r: r.get('pod') == k and r['to'] and r['to'][0] == ('R' if v else '-'),
                              kind='Slice', ns='f')
            out.append(r['t'] - t if r and (nxt is None or r['t'] < nxt + 0.05) else None)
        last = max(r['t'] for r in lab.rec.since(0, kind='Slice', ns='f'))
        w = writes(lab, 'f', lat[0][0] - 0.05)
        lab.metric('5', f'40 flips, one each {gap} s, over 3 pods: answered -> slice (seen ones)', out,
                   flips=40, **w, last_flip_to_last_write=round(last - lat[-1][0], 3))
    if not many:
        return lab.close()
    # 500 pods in one Service, flips at a rate
    names = [f'c{i:03d}' for i in range(500)]
    lab.svc('f', 'c', {'app': 'c'})
    list(lab.fleet.timers.pool.map(lambda i: b.make(names[i], {'app': 'c'}, 'n%02d' % (i % 20)), range(500)))
    settle(lab, 'f')
    st = {n: True for n in names}
    for rate in (5, 20, 50):
        fl = []
        t0 = clock.now()
        for i in range(int(rate * 12)):
            k = random.choice(names)
            st[k] = not st[k]
            t, a = b.status(k, st[k])
            fl.append((a, k, st[k]))
            time.sleep(max(0, t0 + (i + 1) / rate - clock.now()))
        settle(lab, 'f')
        out = []
        for i, (a, k, v) in enumerate(fl):
            nxt = next((x[0] for x in fl[i + 1:] if x[1] == k), None)
            r = lab.rec.first(a - 0.1, lambda r: r.get('pod') == k and r['to'] and r['to'][0] == ('R' if v else '-'),
                              kind='Slice', ns='f')
            out.append(r['t'] - a if r and (nxt is None or r['t'] < nxt) else None)
        lab.metric('5', f'500 pods in one Service, {rate} flips/s for 12 s: answered -> slice', out, flips=len(fl),
                   **writes(lab, 'f', t0))
    # the small Service while a Deployment of 500 pods starts and stops
    lab.dep('f', 'big', 500, {'app': 'big'}, ann={'timeline/stop': '1'})
    lab.svc('f', 'big', {'app': 'big'})
    t0 = clock.now()
    res, k = [], 'a0'
    while clock.now() < t0 + 40:
        up[k] = not up.get(k, True)
        res.append(flip_once(lab, b, 's', k, up[k])[1])
        time.sleep(0.3)
    lab.metric('5', 'small Service while 500 pods of another one start (40 s): answered -> slice', res)
    cr = [r['t'] - t0 for r in lab.rec.since(t0, kind='Pod', what='object', to='created') if r['name'].startswith('big-')]
    lab.metric('5', 'Deployment of 500: pods created', cr)
    rd = [r['t'] - t0 for r in lab.rec.since(t0, kind='Pod', what='Ready', to='True') if r['name'].startswith('big-')]
    lab.metric('5', 'Deployment of 500: pods ready', rd)
    se = [r['t'] - t0 for r in lab.rec.since(t0, kind='Slice', what='endpoint') if r['svc'] == 'big' and (r['to'] or '-')[0] == 'R']
    lab.metric('5', 'Deployment of 500: endpoints ready', se)
    lab.note('5', 'Deployment of 500: layout', layout(lab, 'f', 'big'))
    lab.close()
