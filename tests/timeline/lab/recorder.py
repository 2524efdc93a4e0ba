"""Watches everything, keeps the newest object of each, and writes down transitions: when which field went from what to what.

Endpoint states are three letters, ready/serving/terminating: `RS-` normal, `---` not ready, `-ST` terminating and still ready as a
pod, `--T` terminating.
"""
import collections
import http.client
import json
import threading
import time

import clock

KINDS = {
    'Node': '/api/v1/nodes', 'Pod': '/api/v1/pods', 'Event': '/api/v1/events', 'Service': '/api/v1/services',
    'Slice': '/apis/discovery.k8s.io/v1/endpointslices', 'Deployment': '/apis/apps/v1/deployments',
    'ReplicaSet': '/apis/apps/v1/replicasets', 'DaemonSet': '/apis/apps/v1/daemonsets',
    'Lease': '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases',
}
RESOURCE = {'Node': 'nodes', 'Pod': 'pods', 'Slice': 'endpointslices', 'Deployment': 'deployments',
            'ReplicaSet': 'replicasets', 'DaemonSet': 'daemonsets', 'Service': 'services', 'Event': 'events'}


def cond(o, typ):
    for c in o.get('status', {}).get('conditions') or ():
        if c['type'] == typ: return c['status']


def manager(o):
    fs = o['metadata'].get('managedFields') or ()
    if not fs: return ''
    last = max(f.get('time', '') for f in fs)
    return '+'.join(sorted({f.get('manager', '') for f in fs if f.get('time', '') == last}))


class Recorder:
    """Watches everything, keeps the newest object of each, and a list of transitions."""

    def __init__(self, api, kinds):
        self.api, self.obj, self.rows, self.cb = api, {k: {} for k in kinds}, [], []
        self.lock, self.stopping, self.seen = threading.Lock(), False, collections.Counter()
        self.lost = []
        for k in kinds: threading.Thread(target=self.watch, args=(k,), daemon=True).start()

    def watch(self, kind):
        path = KINDS[kind]
        first = True
        while not self.stopping:
            try:
                c = self.api.connect(4000)
                c.request('GET', path, headers=self.api.headers)
                r = c.getresponse()
                body = r.read()
                if r.status != 200: raise OSError(r.status)
                lst = json.loads(body)
                t = clock.now()
                names = set()
                for o in lst['items']:
                    names.add(self.key(o))
                    self.event(kind, 'MODIFIED', o, t)
                for n in set(self.obj[kind]) - names:
                    self.event(kind, 'DELETED', self.obj[kind][n], t)
                self.seen[kind] += 1
                rv = lst['metadata']['resourceVersion']
                c.request('GET', f'{path}?watch=1&resourceVersion={rv}&timeoutSeconds=3600', headers=self.api.headers)
                r = c.getresponse()
                if r.status != 200: r.read(); raise OSError(r.status)
                if not first: self.lost.append((kind, 'resumed', clock.now()))
                first = False
                buf = b''
                while True:
                    d = r.read1(1 << 18)
                    if not d: break
                    t = clock.now()
                    buf += d
                    lines = buf.split(b'\n')
                    buf = lines.pop()
                    for ln in lines:
                        e = json.loads(ln)
                        if e['type'] == 'ERROR': raise OSError(e['object'].get('message'))
                        self.event(kind, e['type'], e['object'], t)
                self.lost.append((kind, 'lost', clock.now()))
                c.close()
            except (OSError, http.client.HTTPException, ValueError):
                if self.stopping: return
                time.sleep(0.05)

    @staticmethod
    def key(o): return o['metadata'].get('namespace', '') + '/' + o['metadata']['name']

    def row(self, t, kind, o, what, old, new, **more):
        self.rows.append(dict(t=t, kind=kind, ns=o['metadata'].get('namespace', ''), name=o['metadata']['name'],
                              what=what, **{'from': old, 'to': new}, mgr=manager(o),
                              version=o['metadata']['resourceVersion'], **more))

    def event(self, kind, typ, o, t):
        k = self.key(o)
        old = self.obj[kind].get(k)
        if old is not None and old['metadata']['resourceVersion'] == o['metadata']['resourceVersion'] \
                and typ != 'DELETED':
            return
        getattr(self, 'on_' + kind)(t, typ, old, o)
        if typ == 'DELETED': self.obj[kind].pop(k, None)
        else: self.obj[kind][k] = o
        for f in self.cb: f(kind, typ, o, t)

    def simple(self, t, typ, old, o, kind, fields):
        if old is None: self.row(t, kind, o, 'object', None, 'created')
        if typ == 'DELETED': return self.row(t, kind, o, 'object', 'exists', 'gone')
        for name, f in fields:
            a, b = (f(old) if old is not None else None), f(o)
            if a != b: self.row(t, kind, o, name, a, b)

    def on_Node(self, t, typ, old, o):
        self.simple(t, typ, old, o, 'Node', [
            ('Ready', lambda n: cond(n, 'Ready')),
            ('unschedulable', lambda n: n['spec'].get('unschedulable', False)),
            ('taints', lambda n: sorted(x['key'].replace('node.kubernetes.io/', '') + ':' + x['effect']
                                        for x in n['spec'].get('taints') or ()))])

    def on_Pod(self, t, typ, old, o):
        if old is not None and typ != 'DELETED' and old['metadata']['uid'] != o['metadata']['uid']: old = None
        self.simple(t, typ, old, o, 'Pod', [
            ('node', lambda p: p['spec'].get('nodeName')),
            ('phase', lambda p: p.get('status', {}).get('phase')),
            ('Ready', lambda p: cond(p, 'Ready')),
            ('DisruptionTarget', lambda p: next((c.get('reason') for c in p.get('status', {}).get('conditions') or ()
                                                 if c['type'] == 'DisruptionTarget'), None)),
            ('deletion', lambda p: 'deletionTimestamp' in p['metadata'])])

    @staticmethod
    def eps(s):
        out = {}
        for e in s.get('endpoints') or ():
            c = e.get('conditions', {})
            name = (e.get('targetRef') or {}).get('name') or e['addresses'][0]
            out[name] = ''.join(x if c.get(n) else '-' for x, n in
                                (('R', 'ready'), ('S', 'serving'), ('T', 'terminating')))
        return out

    def on_Slice(self, t, typ, old, o):
        a, b = (self.eps(old) if old else {}), ({} if typ == 'DELETED' else self.eps(o))
        svc = o['metadata'].get('labels', {}).get('kubernetes.io/service-name')
        if old is None: self.row(t, 'Slice', o, 'object', None, 'created', svc=svc)
        n = 0
        for e in sorted(set(a) | set(b)):
            if a.get(e) != b.get(e):
                n += 1
                self.row(t, 'Slice', o, 'endpoint', a.get(e), b.get(e), svc=svc, pod=e)
        self.row(t, 'Slice', o, 'write', len(a), len(b), svc=svc, changed=n,
                 trigger=(o['metadata'].get('annotations') or {}).get('endpoints.kubernetes.io/last-change-trigger-time'))
        if typ == 'DELETED': self.row(t, 'Slice', o, 'object', 'exists', 'gone', svc=svc)

    def on_Deployment(self, t, typ, old, o):
        self.simple(t, typ, old, o, 'Deployment', [('status', lambda d: [d['status'].get(f, 0) for f in (
            'replicas', 'updatedReplicas', 'readyReplicas', 'availableReplicas', 'observedGeneration')])])

    def on_ReplicaSet(self, t, typ, old, o):
        self.simple(t, typ, old, o, 'ReplicaSet', [
            ('replicas', lambda d: d['spec'].get('replicas')),
            ('status', lambda d: [d['status'].get(f, 0) for f in ('replicas', 'readyReplicas', 'availableReplicas')])])

    def on_DaemonSet(self, t, typ, old, o):
        self.simple(t, typ, old, o, 'DaemonSet', [('status', lambda d: [d['status'].get(f, 0) for f in (
            'desiredNumberScheduled', 'currentNumberScheduled', 'updatedNumberScheduled', 'numberReady',
            'numberAvailable')])])

    def on_Service(self, t, typ, old, o): self.simple(t, typ, old, o, 'Service', [])

    def on_Lease(self, t, typ, old, o):
        self.simple(t, typ, old, o, 'Lease', [('holder', lambda x: x['spec'].get('holderIdentity'))])

    def on_Event(self, t, typ, old, o):
        if typ == 'DELETED': return
        i = o['involvedObject']
        self.row(t, 'Event', o, o.get('reason'), None, i.get('kind', '') + '/' + i.get('name', ''),
                 src=(o.get('source') or {}).get('component') or o.get('reportingComponent'))

    def synced(self): return all(self.seen[k] for k in self.obj)

    def since(self, t0, t1=None, **eq):
        t1 = t1 or clock.now() + 1
        return [r for r in list(self.rows) if t0 <= r['t'] <= t1 and all(r.get(k) == v for k, v in eq.items())]

    def first(self, t0, f=None, t1=None, **eq):
        for r in list(self.rows):
            if r['t'] >= t0 and (t1 is None or r['t'] <= t1) and all(r.get(k) == v for k, v in eq.items()) \
                    and (f is None or f(r)):
                return r

