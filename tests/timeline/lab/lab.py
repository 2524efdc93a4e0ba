"""One experiment's world, recorder and kubelets, the objects that experiments make, and what they write down."""
import collections
import json
import os
import random
import statistics
import subprocess
import time

import clock
from api import Api, ApiError
from kubelets import Fleet
from recorder import KINDS, RESOURCE, Recorder, cond
from world import World

def toleration(sec):
    out = []
    for k in ('not-ready', 'unreachable'):
        t = {'key': 'node.kubernetes.io/' + k, 'operator': 'Exists', 'effect': 'NoExecute'}
        if sec is not None: t['tolerationSeconds'] = sec
        out.append(t)
    return out


def pod_template(labels, grace=30, ann=None, tol=None, node=None, ports=None, **spec):
    t = {'metadata': {'labels': labels, 'annotations': ann or {}},
         'spec': {'automountServiceAccountToken': False, 'terminationGracePeriodSeconds': grace, 'containers': [
             {'name': 'c', 'image': 'pause', 'ports': ports or [{'name': 'http', 'containerPort': 8080}]}], **spec}}
    if tol: t['spec']['tolerations'] = tol
    if node: t['spec']['nodeName'] = node
    return t


class Lab:
    def __init__(self, settings, experiment, kinds=None, options=()):
        self.settings, self.experiment = settings, experiment
        self.out = []
        self.world = World(settings.world, os.path.join(settings.work, experiment), options)
        self.api = Api(self.world, 'operator')
        self.rec = Recorder(Api(self.world, 'recorder'), kinds or list(KINDS))
        self.fleet = Fleet(Api(self.world, 'kubelet/v1.36.3'), self.rec)
        if not self.wait(self.rec.synced, 30, what='first lists'):
            raise SystemExit('the API server did not answer the first lists')
        clock.log('control plane up:', experiment)

    def wait(self, f, timeout=60, poll=0.02, what=''):
        end = clock.now() + timeout
        while clock.now() < end:
            v = f()
            if v: return v
            time.sleep(poll)
        clock.log('TIMEOUT', what)
        return None

    def ns(self, name):
        self.api.post('/api/v1/namespaces', {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': name}})
        def sa():
            try: return self.api.get(f'/api/v1/namespaces/{name}/serviceaccounts/default')
            except ApiError: return None
        self.wait(sa, 30, 0.1)

    def dep(self, ns, name, replicas, labels, strategy=None, **t):
        o = {'apiVersion': 'apps/v1', 'kind': 'Deployment', 'metadata': {'name': name}, 'spec': {
            'replicas': replicas, 'selector': {'matchLabels': labels}, 'template': pod_template(labels, **t)}}
        if strategy: o['spec']['strategy'] = {'type': 'RollingUpdate', 'rollingUpdate': strategy}
        return self.api.post(f'/apis/apps/v1/namespaces/{ns}/deployments', o)

    def ds(self, ns, name, labels, strategy=None, **t):
        o = {'apiVersion': 'apps/v1', 'kind': 'DaemonSet', 'metadata': {'name': name}, 'spec': {
            'selector': {'matchLabels': labels}, 'template': pod_template(labels, **t)}}
        if strategy: o['spec']['updateStrategy'] = {'type': 'RollingUpdate', 'rollingUpdate': strategy}
        return self.api.post(f'/apis/apps/v1/namespaces/{ns}/daemonsets', o)

    def svc(self, ns, name, selector, target=8080, **spec):
        return self.api.post(f'/api/v1/namespaces/{ns}/services', {
            'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name}, 'spec': {
                'selector': selector, 'ports': [{'name': 'http', 'port': 80, 'targetPort': target}], **spec}})

    def pod(self, ns, name, labels, **t):
        o = pod_template(labels, **t)
        o.update(apiVersion='v1', kind='Pod')
        o['metadata']['name'] = name
        return self.api.post(f'/api/v1/namespaces/{ns}/pods', o)

    def pods(self, ns, f=lambda p: True):
        return [p for p in list(self.rec.obj['Pod'].values()) if p['metadata']['namespace'] == ns and f(p)]

    def slices(self, ns, svc):
        return [s for s in list(self.rec.obj['Slice'].values()) if s['metadata']['namespace'] == ns
                and s['metadata'].get('labels', {}).get('kubernetes.io/service-name') == svc]

    def ready_eps(self, ns, svc):
        return sum(v.startswith('R') for s in self.slices(ns, svc) for v in Recorder.eps(s).values())

    def kubectl(self, *a, **k):
        return subprocess.run(['kubectl', '--kubeconfig', self.world.kubeconfig, *a], capture_output=True, text=True, **k)

    # -- output
    def who(self, rows):
        """Adds user and verb to rows: of the write that made this version, else of the last one before the watch event."""
        if not rows:
            return rows
        writes = collections.defaultdict(list)
        for write in self.world.writes(min(row['t'] for row in rows), max(row['t'] for row in rows)):
            if write[8] and write[8] < 300:
                writes[write[4], write[6], write[7]].append(write)
        for row in rows:
            best = author(row, writes)
            row['user'] = best[2] if best else ''
            row['verb'] = (best[3] + ('/' + best[5] if best[5] else '')) if best else ''
        return rows

    def save(self, x, unit, rows, t0, drop=('write',)):
        self.who(rows)
        for r in rows:
            if r['what'] in drop: continue
            r = dict(r)
            del r['version']
            r['t'] = round(r['t'] - t0, 4)
            self.out.append({'x': x, 'run': self.experiment, 'unit': unit, **{k: v for k, v in r.items() if v not in (None, '')}})

    def metric(self, x, name, values, digits=4, **more):
        v = sorted(a for a in values if a is not None)
        row = {'x': x, 'run': self.experiment, 'metric': name, 'n': len(v), **more}
        if v:
            row.update({'min': round(v[0], digits), 'median': round(statistics.median(v), digits),
                        'p90': round(v[min(len(v) - 1, int(len(v) * .9))], digits), 'max': round(v[-1], digits),
                        'values': [round(a, digits) for a in v]})
        self.out.append(row)
        clock.log(x, name, {k: row[k] for k in ('n', 'min', 'median', 'p90', 'max') if k in row}, more or '')
        return row

    def note(self, x, name, value):
        self.out.append({'x': x, 'run': self.experiment, 'note': name, 'value': value})
        clock.log(x, name, json.dumps(value)[:600])

    def close(self):
        """Writes what was seen to WORK/EXPERIMENT.jsonl and ends the control plane."""
        with open(os.path.join(self.settings.work, self.experiment + '.jsonl'), 'w') as file:
            for row in self.out:
                file.write(json.dumps(row, separators=(',', ':')) + '\n')
        self.rec.stopping = True
        self.world.stop()


def author(row, writes):
    resource = RESOURCE.get(row['kind'])
    of_object = writes.get((resource, row['ns'], row['name']), ())
    exact = [write for write in of_object if str(write[9]) == row['version']]
    if exact:
        return exact[-1]
    # The answer of an eviction or a binding shows no version, that of a deletion at once a later one, and the log of the real one none at all.
    before = [write for write in of_object if (write[9] is None or write[3] == 'delete') and write[0] <= row['t']]
    if before:
        return before[-1]
    unnamed = [write for write in writes.get((resource, row['ns'], ''), ()) if write[0] <= row['t'] <= write[1] + 0.5]
    return unnamed[-1] if unnamed else None


HANDS_OFF = {'timeline/hands-off': '1'}


class Bare:
    """Pods whose status only the experiment writes."""

    def __init__(self, lab, ns): self.lab, self.ns, self.ip = lab, ns, {}

    def make(self, name, labels, node, ready=True, **t):
        self.lab.pod(self.ns, name, labels, node=node, ann=HANDS_OFF, **t)
        self.ip[name] = [self.lab.fleet.next_ip('10.244')]
        if ready is not None: self.status(name, ready)

    def status(self, name, ready):
        k = next(iter(self.lab.fleet.nodes.values()))
        t = clock.now()
        self.lab.fleet.api.smp(f'/api/v1/namespaces/{self.ns}/pods/{name}/status', {'status': {
            'phase': 'Running', 'podIP': self.ip[name][0],
            'podIPs': [{'$patch': 'replace'}] + [{'ip': i} for i in self.ip[name]], 'conditions': k.conditions(ready)}})
        return t, clock.now()

    def drop(self, name):
        self.lab.fleet.api.delete(f'/api/v1/namespaces/{self.ns}/pods/{name}',
                                  {'apiVersion': 'v1', 'kind': 'DeleteOptions', 'gracePeriodSeconds': 0})


def setup(settings, experiment, nodes=20, kinds=None, options=()):
    lab = Lab(settings, experiment, kinds, options)
    for i in range(nodes): lab.fleet.add('n%02d' % i)
    lab.fleet.register()
    lab.wait(lambda: all(cond(o, 'Ready') == 'True' and not o['spec'].get('taints')
                         for o in list(lab.rec.obj['Node'].values())), 90, what='nodes ready')
    return lab


def flip_once(lab, b, svc, name, ready, timeout=8.0):
    """Writes Ready; returns (write seconds, answer -> slice seen, pod seen -> slice seen)."""
    want = 'R' if ready else '-'
    t, a = b.status(name, ready)
    rec = lab.rec
    f = lambda: rec.first(t, lambda r: r.get('pod') == name and (r['to'] or '?')[0] == want, kind='Slice', ns=b.ns)
    r = lab.wait(f, timeout, 0.002)
    p = rec.first(t, kind='Pod', name=name, what='Ready', ns=b.ns)
    return a - t, (r['t'] - a if r else None), (r['t'] - p['t'] if r and p else None)


def layout(lab, ns, svc):
    return [[s['metadata']['name'].split('-', 1)[1], len(s.get('endpoints') or ())] for s in sorted(
        lab.slices(ns, svc), key=lambda s: (s['metadata']['creationTimestamp'], s['metadata']['name']))]


def writes(lab, ns, t0, t1=None):
    w = [r for r in lab.rec.since(t0, t1, kind='Slice', what='write', ns=ns)]
    return {'slice writes': len(w), 'endpoints in the written slices': sum(max(r['to'], 0) for r in w),
            'endpoints changed': sum(r['changed'] for r in w)}


def settle(lab, ns, quiet=2.5, timeout=90):
    end = clock.now() + timeout
    while clock.now() < end:
        last = max([r['t'] for r in list(lab.rec.rows)[-400:] if r['kind'] == 'Slice' and r['ns'] == ns] or [0])
        if clock.now() - last > quiet: return
        time.sleep(0.1)


def series(rows):
    """Slice rows -> [t, ready, serving and terminating, not serving and terminating, not ready] after each write."""
    st, out = {}, []
    for r in rows:
        if r['what'] == 'endpoint':
            if r['to'] is None: st.pop(r['pod'], None)
            else: st[r['pod']] = r['to']
        if r['what'] == 'write':
            c = collections.Counter(st.values())
            out.append([r['t'], c['RS-'] + c['R--'], c['-ST'], c['--T'], c['---'] + c['-S-'] + c['RST']])
    return out

