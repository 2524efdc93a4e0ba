"""Timeline experiments 6 and 7: rollouts of Deployments and DaemonSets, scaling, cordon, drain with a budget."""
import itertools
import json
import time

import clock
from lab import series, setup


def run(settings, experiment):
    lab = setup(settings, experiment)
    rec = lab.rec
    lab.ns('r')
    dep = '/apis/apps/v1/namespaces/r/deployments/web'
    ann = {'timeline/run': '0.3', 'timeline/ready': '1', 'timeline/stop': '5'}

    def watch(x, unit, op, done, tail=1.0, svc='web', save=True):
        time.sleep(2)
        before = [r for r in rec.since(0, kind='Slice') if r.get('svc') == svc]
        t0 = clock.now()
        op()
        want = [lab.api.get(dep)['metadata']['generation'] if svc == 'web' else
                lab.api.get('/apis/apps/v1/namespaces/r/daemonsets/' + svc)['metadata']['generation']]
        lab.wait(lambda: done(want[0]), 120, 0.05, unit)
        end = clock.now()
        time.sleep(tail)
        now = [r for r in rec.since(0, kind='Slice') if r.get('svc') == svc]
        ser = [[round(a[0] - t0, 3)] + a[1:] for a in series(now)]
        base = [a for a in ser if a[0] < 0][-1:]
        ser = base + [a for a in ser if a[0] >= 0]
        lab.note(x, unit + ': [t, ready, serving+terminating, terminating, not ready]', ser)
        lab.note(x, unit + ': fewest and most ready, most endpoints, duration, slice writes', [
            min(a[1] for a in ser), max(a[1] for a in ser), max(sum(a[1:]) for a in ser), round(end - t0, 2), len(ser) - 1])
        if save: lab.save(x, unit, rec.since(t0, ns='r'), t0)

    lab.svc('r', 'web', {'app': 'web'})
    lab.dep('r', 'web', 10, {'app': 'web'}, grace=5, ann=ann)
    lab.wait(lambda: lab.ready_eps('r', 'web') == 10, 60)
    gen = itertools.count(1)

    def roll(path=dep, tpl='web'):
        lab.api.smp(path, {'spec': {'template': {'metadata': {'annotations': {'v': str(next(gen))}}}}})

    def rolled(path=dep, n=10, svc='web'):
        def f(gen):
            d = rec.obj['Deployment'].get('r/web')
            st = d['status']
            return st.get('observedGeneration', 0) >= gen and st.get('updatedReplicas', 0) == n \
                and st.get('replicas', 0) == n and st.get('availableReplicas', 0) == n \
                and len(lab.pods('r', lambda p: p['metadata']['labels'].get('app') == 'web')) == n
        return f
    watch('6', 'rolling update 25%/25%', roll, rolled())
    lab.api.smp(dep, {'spec': {'strategy': {'rollingUpdate': {'maxUnavailable': 0, 'maxSurge': '25%'}}}})
    watch('6', 'rolling update maxUnavailable 0, maxSurge 25%', roll, rolled())
    lab.api.smp(dep, {'spec': {'strategy': {'rollingUpdate': {'maxUnavailable': 1, 'maxSurge': 0}}}})
    watch('6', 'rolling update maxUnavailable 1, maxSurge 0', roll, rolled())
    for n in (4, 10, 0, 10):
        watch('6', f'scale to {n}', lambda: lab.api.merge(dep + '/scale', {'spec': {'replicas': n}}), rolled(n=n))
    lab.api.smp(dep, {'spec': {'strategy': {'$retainKeys': ['type'], 'type': 'Recreate'}}})
    watch('6', 'Recreate', roll, rolled())
    lab.api.delete(dep)
    # DaemonSets on 6 nodes
    for i in range(6): lab.api.merge('/api/v1/nodes/n%02d' % i, {'metadata': {'labels': {'ds': 'y'}}})
    for name, st in (('ds-unavailable', {'maxUnavailable': 1}), ('ds-surge', {'maxUnavailable': 0, 'maxSurge': 1})):
        lab.svc('r', name, {'app': name})
        lab.ds('r', name, {'app': name}, strategy=st, grace=5, ann=ann, nodeSelector={'ds': 'y'})
        lab.wait(lambda: lab.ready_eps('r', name) == 6, 60)
        def done(gen):
            d = rec.obj['DaemonSet']['r/' + name]
            st = d['status']
            return st.get('observedGeneration', 0) >= gen and st.get('updatedNumberScheduled', 0) == 6 \
                and st.get('numberAvailable', 0) == 6 and len(lab.pods('r', lambda p: p['metadata']['labels'].get('app') == name)) == 6
        watch('6', 'DaemonSet ' + json.dumps(st), lambda: roll('/apis/apps/v1/namespaces/r/daemonsets/' + name), done, svc=name)
    # experiment 7: drain with a PodDisruptionBudget, cordon
    lab.svc('r', 'pair', {'app': 'pair'})
    lab.dep('r', 'pair', 2, {'app': 'pair'}, grace=5, ann=ann, affinity={'nodeAffinity': {
        'preferredDuringSchedulingIgnoredDuringExecution': [{'weight': 100, 'preference': {'matchExpressions': [
            {'key': 'kubernetes.io/hostname', 'operator': 'In', 'values': ['n10']}]}}]},
        'podAffinity': {'preferredDuringSchedulingIgnoredDuringExecution': [{'weight': 100, 'podAffinityTerm': {
            'labelSelector': {'matchLabels': {'app': 'pair'}}, 'topologyKey': 'kubernetes.io/hostname'}}]}})
    lab.api.post('/apis/policy/v1/namespaces/r/poddisruptionbudgets', {
        'apiVersion': 'policy/v1', 'kind': 'PodDisruptionBudget', 'metadata': {'name': 'pair'},
        'spec': {'minAvailable': 1, 'selector': {'matchLabels': {'app': 'pair'}}}})
    lab.wait(lambda: lab.ready_eps('r', 'pair') == 2, 60)
    on = {p['spec']['nodeName'] for p in lab.pods('r', lambda p: p['metadata']['labels'].get('app') == 'pair')}
    lab.note('7', 'both pods on', sorted(on))
    time.sleep(2)
    node = sorted(on)[0]
    t0 = clock.now()
    lab.kubectl('cordon', node)
    time.sleep(2)
    lab.save('7', 'cordon', [r for r in rec.since(t0, kind='Node') if r['name'] == node], t0)
    lab.note('7', 'cordon', [[round(r['t'] - t0, 3), r['what'], r['to'], r.get('user'), r.get('mgr')] for r in rec.since(t0, kind='Node') if r['name'] == node])
    lab.note('7', 'cordon: slice writes', len(rec.since(t0, kind='Slice', what='write')))
    t0 = clock.now()
    p = lab.kubectl('drain', node, '--ignore-daemonsets', '--delete-emptydir-data', '--force')
    t1 = clock.now()
    time.sleep(1)
    lab.note('7', 'kubectl drain: seconds', round(t1 - t0, 2))
    lab.note('7', 'kubectl drain: output', [ln[:160] for ln in (p.stdout + p.stderr).splitlines()][:20])
    rows = [r for r in rec.since(t0, ns='r') if 'pair' in r['name'] or 'pair' in (r.get('pod') or '')]
    lab.save('7', 'drain', rows, t0)
    lab.note('7', 'drain: order', [[round(r['t'] - t0, 3), r['kind'], r.get('pod') or r['name'], r['what'], r['to'], r.get('user')]
                                  for r in rows if r['kind'] in ('Pod', 'Slice') and r['what'] != 'write'])
    ev = [a for a in lab.world.writes(t0, t1) if a[5] == 'eviction']
    lab.note('7', 'evictions', [[round(a[0] - t0, 3), a[7], a[8]] for a in ev])
    lab.close()
