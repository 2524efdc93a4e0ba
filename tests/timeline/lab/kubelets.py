"""Plays kubelets: leases, node status and pod status with a kubelet's own times; no pod runs.

Annotations of a pod say when it runs (`timeline/run`), is ready (`timeline/ready`) and stops (`timeline/stop`), in seconds;
`timeline/hands-off` leaves it alone.
"""
import collections
import concurrent.futures
import heapq
import http.client
import itertools
import random
import threading

import clock
from api import ApiError
from recorder import cond

class Timers(threading.Thread):
    def __init__(self, workers=16):
        super().__init__(daemon=True)
        self.heap, self.cv, self.n = [], threading.Condition(), itertools.count()
        self.pool = concurrent.futures.ThreadPoolExecutor(workers)
        self.start()

    def at(self, t, f, *a):
        with self.cv:
            heapq.heappush(self.heap, (t, next(self.n), f, a))
            self.cv.notify()

    def after(self, d, f, *a): self.at(clock.now() + d, f, *a)

    def now(self, f, *a): self.pool.submit(self.guard, f, *a)

    @staticmethod
    def guard(f, *a):
        try: f(*a)
        except ApiError as e:
            if e.code not in (404, 409): print('api error', f.__name__, e, flush=True)
        except (OSError, http.client.HTTPException) as e: pass
        except Exception as e: print('error', f.__name__, repr(e), flush=True)

    def run(self):
        while True:
            with self.cv:
                while not self.heap or self.heap[0][0] > clock.now():
                    self.cv.wait(self.heap[0][0] - clock.now() if self.heap else None)
                _, _, f, a = heapq.heappop(self.heap)
            try: self.pool.submit(self.guard, f, *a)
            except RuntimeError: return


class Kubelet:
    """Renews its Lease every 10 s (+0..4 %), looks at its status every 10 s, reports it every 5 min or on change,
    rewrites the Ready condition of a pod that somebody else changed at its own 10 s tick."""
    LEASE, STATUS, REPORT, JITTER = 10.0, 10.0, 300.0, 0.04

    def __init__(self, fleet, name, labels, phase=None):
        self.fleet, self.name, self.labels, self.state = fleet, name, labels, 'up'
        self.pods, self.last_renew, self.epoch = {}, None, 0
        self.phase = random.random() * self.LEASE if phase is None else phase
        self.next_report = 0
        self.ready_since = clock.seconds_text()

    def register(self):
        f = self.fleet
        self.ip = f.next_ip('10.0')
        o = {'apiVersion': 'v1', 'kind': 'Node', 'metadata': {'name': self.name, 'labels': {
            'kubernetes.io/hostname': self.name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64',
            **self.labels}}}
        f.api.post('/api/v1/nodes', o)
        f.api.post('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases', {
            'apiVersion': 'coordination.k8s.io/v1', 'kind': 'Lease', 'metadata': {'name': self.name},
            'spec': {'holderIdentity': self.name, 'leaseDurationSeconds': 40, 'renewTime': clock.micro_text()}})
        self.report()
        self.begin()

    def begin(self):
        self.epoch += 1
        self.fleet.timers.after(self.phase, self.lease_tick, self.epoch)
        self.fleet.timers.after(random.random() * self.STATUS, self.status_tick, self.epoch)
        self.fleet.timers.after(random.random() * 10, self.pod_tick, self.epoch)

    def wait(self, period): return period * (1 + self.JITTER * random.random())

    def lease_tick(self, epoch):
        if epoch != self.epoch or self.state == 'dead': return
        self.fleet.timers.after(self.wait(self.LEASE), self.lease_tick, epoch)
        if self.state == 'up': self.renew()

    def renew(self):
        self.fleet.api.merge('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/' + self.name,
                             {'spec': {'renewTime': clock.micro_text()}})
        self.last_renew = clock.now()

    def status_tick(self, epoch):
        if epoch != self.epoch or self.state == 'dead': return
        self.fleet.timers.after(self.wait(self.STATUS), self.status_tick, epoch)
        if self.state != 'up': return
        n = self.fleet.rec.obj['Node'].get('/' + self.name)
        if n is None: return
        if cond(n, 'Ready') != 'True': self.ready_since = clock.seconds_text(); self.report()
        elif clock.now() > self.next_report: self.report()

    def report(self):
        now = clock.seconds_text()
        cs = [{'type': t, 'status': s, 'reason': r, 'message': m, 'lastHeartbeatTime': now,
               'lastTransitionTime': self.ready_since}
              for t, s, r, m in (('MemoryPressure', 'False', 'KubeletHasSufficientMemory', 'ok'),
                                 ('DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'ok'),
                                 ('PIDPressure', 'False', 'KubeletHasSufficientPID', 'ok'),
                                 ('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'))]
        cap = {'cpu': '64', 'memory': '256Gi', 'pods': '250'}
        self.fleet.api.smp(f'/api/v1/nodes/{self.name}/status', {'status': {
            'conditions': cs, 'capacity': cap, 'allocatable': cap,
            'addresses': [{'type': 'InternalIP', 'address': self.ip}, {'type': 'Hostname', 'address': self.name}],
            'nodeInfo': {'kubeletVersion': 'v1.36.3', 'architecture': 'amd64', 'bootID': '', 'machineID': '',
                         'kernelVersion': '', 'osImage': '', 'containerRuntimeVersion': '', 'operatingSystem': 'linux',
                         'kubeProxyVersion': '', 'systemUUID': ''}}})
        self.next_report = clock.now() + self.REPORT * (1 + random.random() - 0.5)

    # -- faults
    def die(self): self.state = 'dead'; self.epoch += 1

    def cut(self): self.state = 'cut'

    def heal(self):
        """The API can be reached again: the ticks go on with their own phases."""
        self.state = 'up'
        self.see_all()

    def restart(self):
        """A kubelet that starts: it reports and renews at once, then with a new phase."""
        self.state = 'up'
        n = self.fleet.rec.obj['Node'].get('/' + self.name)
        if n and cond(n, 'Ready') != 'True': self.ready_since = clock.seconds_text()
        self.fleet.timers.now(self.report)
        self.fleet.timers.now(self.renew)
        self.begin()
        self.see_all()

    def see_all(self):
        for p in list(self.fleet.rec.obj['Pod'].values()):
            if p['spec'].get('nodeName') == self.name: self.see(p)

    # -- pods
    def see(self, p):
        if self.state != 'up': return
        m, uid = p['metadata'], p['metadata']['uid']
        a = m.get('annotations') or {}
        if a.get('timeline/hands-off'): return
        s = self.pods.get(uid)
        if s is None:
            if p['status'].get('phase') not in ('Pending', 'Running'): return
            run, ready = float(a.get('timeline/run', 0.3)), float(a.get('timeline/ready', 1.0))
            s = self.pods[uid] = {'ready': False, 'stop': False, 'run': False}
            if p['status'].get('phase') == 'Running':
                s.update(run=True, ready=True)
            elif 'deletionTimestamp' not in m:
                self.fleet.timers.after(run, self.run_pod, p, s)
                if ready >= 0: self.fleet.timers.after(ready, self.ready_pod, p, s, True)
        if 'deletionTimestamp' in m and not s['stop']:
            s['stop'] = True
            grace = m.get('deletionGracePeriodSeconds') or 0
            self.fleet.timers.after(min(grace, float(a.get('timeline/stop', grace))), self.stop_pod, p, s)

    def gone(self, uid): self.pods.pop(uid, None)

    def path(self, p): return f"/api/v1/namespaces/{p['metadata']['namespace']}/pods/{p['metadata']['name']}"

    def ips(self, p):
        if p['spec'].get('hostNetwork'): return [self.ip]
        ip = self.fleet.next_ip('10.244')
        out = [ip]
        if (p['metadata'].get('annotations') or {}).get('timeline/dual'):
            out.append('fd00:244::' + ':'.join('%x' % int(x) for x in ip.split('.')[2:]))
        return out

    def conditions(self, ready):
        now, r = clock.seconds_text(), 'True' if ready else 'False'
        return [{'type': t, 'status': s, 'lastTransitionTime': now} for t, s in (
            ('PodReadyToStartContainers', 'True'), ('Initialized', 'True'), ('Ready', r), ('ContainersReady', r))]

    def containers(self, p, ready, state):
        return [{'name': c['name'], 'image': c['image'], 'imageID': '', 'restartCount': 0, 'ready': ready,
                 'started': state == 'running', 'state': {state: {'startedAt': clock.seconds_text(), **(
                     {'exitCode': 0, 'finishedAt': clock.seconds_text(), 'reason': 'Completed'} if state == 'terminated' else {})}}}
                for c in p['spec']['containers']]

    def run_pod(self, p, s):
        if s['stop'] or self.state == 'dead': return
        s['run'] = True
        if self.state != 'up': return
        ips = self.ips(p)
        self.fleet.api.smp(self.path(p) + '/status', {'metadata': {'uid': p['metadata']['uid']}, 'status': {
            'phase': 'Running', 'startTime': clock.seconds_text(), 'hostIP': self.ip, 'podIP': ips[0],
            'podIPs': [{'ip': i} for i in ips], 'conditions': self.conditions(False),
            'containerStatuses': self.containers(p, False, 'running')}})

    def ready_pod(self, p, s, ready):
        if s['stop'] or self.state == 'dead': return
        s['ready'] = ready
        if self.state == 'up': self.write_ready(p, ready)

    def write_ready(self, p, ready):
        self.fleet.api.smp(self.path(p) + '/status', {'metadata': {'uid': p['metadata']['uid']}, 'status': {
            'conditions': self.conditions(ready), 'containerStatuses': self.containers(p, ready, 'running')}})

    def stop_pod(self, p, s):
        if self.state != 'up': s['stop'] = False; return
        self.fleet.api.smp(self.path(p) + '/status', {'metadata': {'uid': p['metadata']['uid']}, 'status': {
            'phase': 'Succeeded', 'conditions': self.conditions(False),
            'containerStatuses': self.containers(p, False, 'terminated')}})
        self.fleet.api.delete(self.path(p), {'apiVersion': 'v1', 'kind': 'DeleteOptions', 'gracePeriodSeconds': 0,
                                             'preconditions': {'uid': p['metadata']['uid']}})

    def pod_tick(self, epoch):
        if epoch != self.epoch or self.state == 'dead': return
        self.fleet.timers.after(10.0, self.pod_tick, epoch)
        if self.state != 'up': return
        for p in list(self.fleet.rec.obj['Pod'].values()):
            if p['spec'].get('nodeName') != self.name: continue
            s = self.pods.get(p['metadata']['uid'])
            if s and s['run'] and not s['stop'] and p['status'].get('phase') == 'Running' \
                    and (cond(p, 'Ready') == 'True') != s['ready']:
                self.write_ready(p, s['ready'])


class Fleet:
    def __init__(self, api, rec):
        self.api, self.rec, self.timers, self.nodes, self.count = api, rec, Timers(), {}, collections.Counter()
        self.lock = threading.Lock()
        rec.cb.append(self.on)

    def next_ip(self, prefix):
        with self.lock:
            self.count[prefix] += 1
            n = self.count[prefix] + 256
            return f'{prefix}.{n // 250}.{n % 250 + 1}'

    def add(self, name, zone='', phase=None, **labels):
        if zone: labels['topology.kubernetes.io/zone'] = zone
        k = self.nodes[name] = Kubelet(self, name, {a.replace('__', '/'): b for a, b in labels.items()}, phase)
        return k

    def register(self):
        list(self.timers.pool.map(lambda k: k.register(), list(self.nodes.values())))

    def on(self, kind, typ, o, t):
        if kind != 'Pod': return
        k = self.nodes.get(o['spec'].get('nodeName'))
        if not k: return
        if typ == 'DELETED': k.gone(o['metadata']['uid'])
        else: k.see(o)


