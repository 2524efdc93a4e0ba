"""Timeline experiments 1 to 3: a node dies, returns, is taken out of service or deleted; a kubelet misses renewals."""
import collections
import time

import clock
from lab import Lab, toleration
from recorder import cond


CLASSES = {'t300': None, 't0': 0, 't10': 10, 't30': 30, 'tinf': 'inf'}


def zone_apps(lab, ns, zone, classes):
    for c in classes:
        tol = toleration({'inf': None}.get(CLASSES[c], CLASSES[c])) if CLASSES[c] is not None else None
        lab.dep(ns, f'{zone}-{c}', 1, {'app': c, 'u': f'{zone}-{c}'}, tol=tol, ann={'timeline/stop': '2'},
                affinity={'nodeAffinity': {
                    'requiredDuringSchedulingIgnoredDuringExecution': {'nodeSelectorTerms': [{'matchExpressions': [
                        {'key': 'topology.kubernetes.io/zone', 'operator': 'In', 'values': [zone]}]}]},
                    'preferredDuringSchedulingIgnoredDuringExecution': [{'weight': 100, 'preference': {
                        'matchExpressions': [{'key': 'tl', 'operator': 'In', 'values': ['victim']}]}}]}})


def gauge(rec, t0, r):
    """Seconds from t0 to the row r."""
    return None if r is None else r['t'] - t0


def node_rows(rec, v, t0, t1=None):
    return dict(
        unknown=rec.first(t0, kind='Node', name=v, what='Ready', to='Unknown', t1=t1),
        nosched=rec.first(t0, lambda r: r['to'] and 'unreachable:NoSchedule' in r['to'], kind='Node', name=v,
                          what='taints', t1=t1),
        noexec=rec.first(t0, lambda r: r['to'] and 'unreachable:NoExecute' in r['to'], kind='Node', name=v,
                         what='taints', t1=t1))


def pod_rows(rec, ns, dep, pod, t0, t1=None):
    q = dict(ns=ns, t1=t1)
    d = dict(
        notready=rec.first(t0, kind='Pod', name=pod, what='Ready', to='False', **q),
        slicedown=rec.first(t0, lambda r: r.get('pod') == pod and not (r['to'] or '-').startswith('R'), kind='Slice',
                            what='endpoint', **q),
        target=rec.first(t0, lambda r: r['to'], kind='Pod', name=pod, what='DisruptionTarget', **q),
        deletion=rec.first(t0, kind='Pod', name=pod, what='deletion', to=True, **q),
        gone=rec.first(t0, kind='Pod', name=pod, what='object', to='gone', **q),
        slicegone=rec.first(t0, lambda r: r.get('pod') == pod and r['to'] is None, kind='Slice', what='endpoint', **q))
    new = rec.first(t0, lambda r: r['name'].startswith(dep + '-'), kind='Pod', what='object', to='created', **q)
    d['created'] = new
    if new:
        n = new['name']
        d['scheduled'] = rec.first(t0, lambda r: r['to'], kind='Pod', name=n, what='node', **q)
        d['ready'] = rec.first(t0, kind='Pod', name=n, what='Ready', to='True', **q)
        d['sliceup'] = rec.first(t0, lambda r: r.get('pod') == n and (r['to'] or '').startswith('R'), kind='Slice',
                                 what='endpoint', **q)
    return d


def run(settings, experiment, grace, period, victims, short):
    lab = Lab(settings, experiment, options=[f'--node-monitor-grace-period={grace}s', f'--node-monitor-period={period}s'])
    rec, fleet = lab.rec, lab.fleet
    zs = ['z%02d' % i for i in range(1, victims + 1)]
    rs = [] if short else ['r%d' % i for i in range(1, 9)]
    os_ = [] if short else ['o%d' % i for i in range(1, 5)]
    ds = [] if short else ['d%d' % i for i in range(1, 7)]
    gaps = [] if short else [20, 20, 20, 30, 40, 45, 48, 49.5, 50.5, 51.5, 52.5, 53.5, 54.5, 56, 60]
    gs = ['g%02d' % i for i in range(1, len(gaps) + 1)]
    for z in zs + rs + os_ + ds + gs:
        fleet.add(z + '-v', z, tl='victim', grp=z[0])
        fleet.add(z + '-s', z, grp=z[0])
    if not short:
        for i in range(1, 13): fleet.add('m1-n%02d' % i, 'm1', grp='m')
    fleet.register()
    for ns in 'zrodgm': lab.ns(ns)
    lab.wait(lambda: all(cond(n, 'Ready') == 'True' and not n['spec'].get('taints')
                         for n in list(rec.obj['Node'].values())), 90, what='nodes ready')
    for ns, zl, cl in (('z', zs, list(CLASSES)), ('r', rs, ['t300', 't0', 'tinf']), ('o', os_, ['t300', 'tinf']),
                       ('d', ds, ['t300', 'tinf']), ('g', gs, ['t300', 't0'])):
        if not zl: continue
        for c in cl: lab.svc(ns, 'svc-' + c, {'app': c})
        lab.svc(ns, 'svc-ds', {'app': 'ds'})
        lab.ds(ns, 'ds', {'app': 'ds'}, nodeSelector={'grp': ns}, ann={'timeline/stop': '2'})
        list(fleet.timers.pool.map(lambda z: zone_apps(lab, ns, z, cl), zl))
    if not short:
        lab.ds('m', 'ds', {'app': 'ds'}, nodeSelector={'grp': 'm'})
        lab.svc('m', 'svc-ds', {'app': 'ds'})
    lab.wait(lambda: all(lab.pods(ns) for ns in 'z') and all(
        cond(p, 'Ready') == 'True' for p in list(rec.obj['Pod'].values())) and all(
        d['status'].get('readyReplicas') for d in list(rec.obj['Deployment'].values())), 120, 0.2, 'pods ready')
    time.sleep(12)
    on = collections.defaultdict(dict)          # victim -> {class: pod}
    for p in list(rec.obj['Pod'].values()):
        on[p['spec']['nodeName']][p['metadata']['labels']['app']] = p['metadata']['name']
    misplaced = [z for z in zs + rs + os_ + ds + gs if len(on[z + '-v']) < 3]
    clock.log('pods', len(rec.obj['Pod']), 'nodes', len(rec.obj['Node']), 'misplaced', misplaced)
    base = clock.now() + 1
    fault, renewed, plan = {}, {}, []

    def kill(node, how='cut'):
        """Stops the kubelet of node now; the phase of its lease is what it is then."""
        k = fleet.nodes[node]
        getattr(k, how)()
        fault[node], renewed[node] = clock.now(), k.last_renew

    def at(t, f, *a): plan.append((base + t, len(plan), f, a))

    for i, z in enumerate(zs):
        # kill times on a 2.5 s grid; the phase follows from each node's own lease clock
        at(i * 2.5, kill, z + '-v', 'cut' if i < 6 else 'die')
    end = len(zs) * 2.5 + (60 + grace + 12)
    heal = {}

    def mend(node):
        fleet.nodes[node].heal()
        heal[node] = clock.now()

    marks = {}
    if not short:
        for i, z in enumerate(rs):
            at(70 + 2.5 * i, kill, z + '-v')
            at(70 + 2.5 * i + 60, mend, z + '-v')
        for i, z in enumerate(os_):
            at(95 + 2.5 * i, kill, z + '-v', 'die')
            def oos(node):
                lab.kubectl('taint', 'node', node, 'node.kubernetes.io/out-of-service=nodeshutdown:NoExecute')
                marks[node] = clock.now()
            at(95 + 2.5 * i + (30 if i < 2 else 80), oos, z + '-v')
        for i, z in enumerate(ds):
            def rm(node):
                lab.api.delete('/api/v1/nodes/' + node)
                marks[node] = clock.now()
            if i < 4: at(110 + 2.5 * i, kill, z + '-v', 'die')
            at(110 + 2.5 * i + (0.01 if i < 2 or i >= 4 else 70), rm, z + '-v')
        def gap(node, g):
            k = fleet.nodes[node]
            k.renew()
            k.die()
            fault[node] = renewed[node] = k.last_renew
            def back():
                k.restart()
                heal[node] = clock.now()
            fleet.timers.at(k.last_renew + g, back)
        for i, g in enumerate(gs): at(128 + 1.7 * i, gap, g + '-v', gaps[i])
        mv = ['m1-n%02d' % i for i in range(1, 7)]
        def many():
            for v in mv: kill(v, 'die')
        at(160, many)
        for i, z in enumerate(zs[:6]): at(60 + 300 + 55 + 30 + 2 * i, mend, z + '-v')
        end = 480
    for t, _, f, a in sorted(plan, key=lambda x: x[:2]):
        time.sleep(max(0, t - clock.now()))
        f(*a)
    time.sleep(max(0, base + end - clock.now()))
    clock.log('analysis')

    # experiment 1
    M = collections.defaultdict(list)
    for z in zs:
        v = z + '-v'
        t0, tl, t1 = fault[v], renewed[v], heal.get(v)
        n = node_rows(rec, v, t0, t1)
        u = n['unknown']
        M['last renewal -> fault'].append(t0 - tl)
        if not u: continue
        M['last renewal -> Ready=Unknown'].append(u['t'] - tl)
        M['fault -> Ready=Unknown'].append(u['t'] - t0)
        M['Unknown -> taint unreachable:NoSchedule'].append(gauge(rec, u['t'], n['nosched']))
        M['Unknown -> taint unreachable:NoExecute'].append(gauge(rec, u['t'], n['noexec']))
        rows = [r for r in (n['unknown'], n['nosched'], n['noexec']) if r]
        for c in list(CLASSES) + ['ds']:
            pod = on[v].get(c)
            if not pod: continue
            d = pod_rows(rec, 'z', f'{z}-{c}', pod, t0, t1)
            rows += [r for r in d.values() if r]
            if d['notready']:
                M['Unknown -> pod Ready=False'].append(d['notready']['t'] - u['t'])
                if d['slicedown']: M['pod Ready=False -> slice ready=false'].append(d['slicedown']['t'] - d['notready']['t'])
            if d['slicedown']: M['fault -> slice ready=false'].append(d['slicedown']['t'] - t0)
            if d['deletion'] and n['noexec'] and c != 'ds':
                M[f'NoExecute -> deletionTimestamp ({c})'].append(d['deletion']['t'] - n['noexec']['t'])
                M[f'fault -> deletionTimestamp ({c})'].append(d['deletion']['t'] - t0)
                if d['created']:
                    M['deletionTimestamp -> replacement created'].append(d['created']['t'] - d['deletion']['t'])
                    M['created -> scheduled'].append(gauge(rec, d['created']['t'], d.get('scheduled')))
                    M['scheduled -> ready (kubelet delay 1 s)'].append(
                        d['ready']['t'] - d['scheduled']['t'] if d.get('ready') and d.get('scheduled') else None)
                    M['ready -> slice ready=true'].append(
                        d['sliceup']['t'] - d['ready']['t'] if d.get('sliceup') and d.get('ready') else None)
                    M[f'fault -> replacement in slice ({c})'].append(gauge(rec, t0, d.get('sliceup')))
            if c in ('ds', 'tinf') and d['deletion']: M[f'{c} pods deleted'].append(1)
        lab.save('1', v, sorted(rows, key=lambda r: r['t']), t0)
    for k, vv in M.items(): lab.metric('1', k, vv)
    for c in ('ds', 'tinf'): lab.note('1', f'{c} pods deleted', len(M.get(f'{c} pods deleted', ())))
    if short:
        return lab.close()

    # experiment 1, several at once in one zone
    mt = fault['m1-n01']
    nr = [node_rows(rec, v, mt) for v in mv]
    lab.metric('1m', '6 of 12 nodes of one zone: fault -> Unknown', [gauge(rec, mt, n['unknown']) for n in nr])
    lab.metric('1m', '6 of 12 nodes of one zone: fault -> NoSchedule', [gauge(rec, mt, n['nosched']) for n in nr])
    lab.metric('1m', '6 of 12 nodes of one zone: fault -> NoExecute', [gauge(rec, mt, n['noexec']) for n in nr])
    lab.save('1m', 'zone m1', sorted([r for n in nr for r in n.values() if r], key=lambda r: r['t']), mt)

    # experiment 2a: back after 60 s
    M = collections.defaultdict(list)
    for z in rs:
        v = z + '-v'
        t0, h = fault[v], heal[v]
        n = node_rows(rec, v, t0, h)
        back = rec.first(h, kind='Node', name=v, what='Ready', to='True')
        no1 = rec.first(h, lambda r: 'unreachable:NoSchedule' not in r['to'], kind='Node', name=v, what='taints')
        no2 = rec.first(h, lambda r: 'unreachable:NoExecute' not in r['to'], kind='Node', name=v, what='taints')
        lab.save('2a', v, [r for r in rec.since(t0, h + 40) if r['kind'] == 'Node' and r['name'] == v
                           or r['name'] in on[v].values() or r.get('pod') in on[v].values()], t0)
        if not n['unknown']:
            M['nodes that never became Unknown'].append(1)
            continue
        M['reachable -> node Ready=True (kubelet status tick)'].append(gauge(rec, h, back))
        if back and no1: M['Ready=True -> NoSchedule gone'].append(no1['t'] - back['t'])
        if back and no2: M['Ready=True -> NoExecute gone'].append(no2['t'] - back['t'])
        for c in ('t300', 'tinf', 'ds'):
            p = on[v].get(c)
            pr = rec.first(h, kind='Pod', name=p, what='Ready', to='True', ns='r')
            su = rec.first(h, lambda r: r.get('pod') == p and (r['to'] or '').startswith('R'), kind='Slice', ns='r')
            M['reachable -> pod Ready=True (kubelet pod tick)'].append(gauge(rec, h, pr))
            if pr and su: M['pod Ready=True -> slice ready=true'].append(su['t'] - pr['t'])
        p = on[v].get('t0')
        M['t0 pod: reachable -> object gone (stop 2 s)'].append(
            gauge(rec, h, rec.first(h, kind='Pod', name=p, what='object', to='gone', ns='r')))
    for k, vv in M.items(): lab.metric('2a', k, vv)

    # experiment 2b: back after the eviction
    M = collections.defaultdict(list)
    for z in zs[:6]:
        v, h = z + '-v', heal[z + '-v']
        rows = [r for r in rec.since(h) if r['kind'] == 'Node' and r['name'] == v or r['name'] in on[v].values()
                or r.get('pod') in on[v].values()]
        lab.save('2b', v, rows, h)
        for c in ('t300', 't0', 't10', 't30'):
            p = on[v].get(c)
            st = [r['to'] for r in rec.since(fault[v], h) if r.get('pod') == p and r['what'] == 'endpoint']
            g = rec.first(h, kind='Pod', name=p, what='object', to='gone', ns='z')
            s = rec.first(h, lambda r: r.get('pod') == p and r['to'] is None, kind='Slice', ns='z')
            M['reachable -> pod gone (stop 2 s)'].append(gauge(rec, h, g))
            if g and s: M['pod gone -> endpoint out of slice'].append(s['t'] - g['t'])
            lab.note('2b', f'{v} {c} endpoint states while away', st)
        for c in ('tinf', 'ds'):
            p = on[v].get(c)
            pr = rec.first(h, kind='Pod', name=p, what='Ready', to='True', ns='z')
            M['reachable -> pod Ready=True (tinf, ds)'].append(gauge(rec, h, pr))
    for k, vv in M.items(): lab.metric('2b', k, vv)

    # experiment 2c: out of service; 2d: node object deleted
    for x, zl, label in (('2c', os_, 'out-of-service'), ('2d', ds, 'node object deleted')):
        M = collections.defaultdict(list)
        for i, z in enumerate(zl):
            v = z + '-v'
            t0, mk = fault.get(v, marks[v]), marks[v]
            rows = [r for r in rec.since(min(t0, mk) - 0.1, mk + 130)
                    if r['kind'] == 'Node' and r['name'] == v or r['name'] in on[v].values()
                    or r.get('pod') in on[v].values()]
            lab.save(x, v, rows, mk)
            case = {'2c': 'taint before Unknown' if i < 2 else 'taint after Unknown',
                    '2d': 'at death' if i < 2 else '70 s after death' if i < 4 else 'kubelet alive'}[x]
            for c in on[v]:
                d = pod_rows(rec, z[0], f'{z}-{c}', on[v][c], min(t0, mk) - 0.1)
                for what in ('notready', 'slicedown', 'deletion', 'gone', 'slicegone', 'created'):
                    if d.get(what): M[f'{case}, {c}: {label} -> {what}'].append(d[what]['t'] - mk)
        for k, vv in sorted(M.items()): lab.metric(x, k, vv)

    # experiment 3: lease gaps
    for i, z in enumerate(gs):
        v = z + '-v'
        rows = [r for r in rec.since(fault[v], heal[v] + 30) if r['kind'] in ('Node', 'Pod', 'Slice') and (
            r['name'] == v or r['name'] in on[v].values() or r.get('pod') in on[v].values())]
        lab.save('3', f'{v} gap {gaps[i]}', rows, fault[v])
        lab.note('3', f'gap {gaps[i]} s', [[round(r['t'] - fault[v], 2), r['kind'], r['what'], r['to']] for r in rows
                                          if r['what'] != 'write'])
    lab.close()
