"""Timeline experiment 9: from a new Deployment to its first ready endpoint."""
import collections
import time

import clock
from lab import setup


def run(settings, experiment):
    lab = setup(settings, experiment)
    rec = lab.rec
    lab.ns('c')
    M = collections.defaultdict(list)
    for i in range(25):
        n = f'd{i:02d}'
        lab.svc('c', n, {'app': n})
        time.sleep(0.7)
        t0 = clock.now()
        lab.dep('c', n, 1, {'app': n}, ann={'timeline/run': '0', 'timeline/ready': '0.2'})
        t1 = clock.now()
        lab.wait(lambda: lab.ready_eps('c', n) == 1, 20)
        time.sleep(0.5)
        rs = rec.first(t0, kind='ReplicaSet', what='object', ns='c')
        pd = rec.first(t0, kind='Pod', what='object', ns='c')
        bd = rec.first(t0, lambda r: r['to'], kind='Pod', what='node', ns='c')
        ru = rec.first(t0, kind='Pod', what='phase', to='Running', ns='c')
        e1 = rec.first(t0, kind='Slice', what='endpoint', ns='c')
        rd = rec.first(t0, kind='Pod', what='Ready', to='True', ns='c')
        e2 = rec.first(t0, lambda r: (r['to'] or '-')[0] == 'R', kind='Slice', what='endpoint', ns='c')
        M['create answered'].append(t1 - t0)
        for k, a, z in (('create sent -> ReplicaSet seen (deployment-controller)', None, rs),
                        ('ReplicaSet -> Pod seen (replicaset-controller)', rs, pd),
                        ('Pod -> bound seen (scheduler)', pd, bd), ('bound -> Running, not ready (kubelet, delay 0)', bd, ru),
                        ('Running -> endpoint not ready in slice (endpointslice-controller)', ru, e1),
                        ('Running -> Ready=True (kubelet, delay 0.2 s)', ru, rd),
                        ('Ready=True -> endpoint ready in slice (endpointslice-controller)', rd, e2),
                        ('all: create sent -> first ready endpoint', None, e2)):
            if z: M[k].append(z['t'] - (a['t'] if a else t0))
        if i == 3: lab.save('9', n, rec.since(t0, ns='c'), t0, drop=())
    for k, v in M.items(): lab.metric('9', k, v)
    lab.close()
