"""Timeline experiment 8: what each change of a Service does to its slices."""
import time

import clock
from api import ApiError
from lab import Bare, setup
from recorder import Recorder


def has_two_families(lab):
    """Whether the control plane gives Services addresses of both families."""
    try:
        lab.svc('v', 'families', {'app': 'none'}, ipFamilyPolicy='RequireDualStack', ipFamilies=['IPv4', 'IPv6'])
    except ApiError as error:
        if error.code != 422:
            raise
        return False
    return True


def run(settings, experiment):
    lab = setup(settings, experiment)
    rec, api = lab.rec, lab.api
    lab.ns('v')
    b = Bare(lab, 'v')
    for i in range(3):
        b.make(f'x{i}', {'app': 'x', 'all': 'y'}, f'n0{i}')
        b.make(f'y{i}', {'app': 'y', 'all': 'y'}, f'n0{i}')
    b.make('xnot', {'app': 'x', 'all': 'y'}, 'n04', ready=False)

    def show(svc):
        return [{'family': s['addressType'], 'ports': [[p.get('name'), p.get('port')] for p in s.get('ports') or ()],
                 'endpoints': {n: c for n, c in Recorder.eps(s).items()},
                 'labels': sorted(k for k in s['metadata']['labels'])} for s in sorted(
                     lab.slices('v', svc), key=lambda s: s['metadata']['name'])]

    def do(unit, svc, op, wait=1.6):
        time.sleep(1)
        t0 = clock.now()
        op()
        t1 = clock.now()
        time.sleep(wait)
        rows = [r for r in rec.since(t0, kind='Slice') if r.get('svc') == svc]
        lab.note('8', unit, {'request': round(t1 - t0, 4), 'slices': show(svc), 'rows': [
            [round(r['t'] - t0, 4), r['name'][-5:], r['what'], r.get('pod'), r['from'], r['to']] for r in rows
            if r['what'] != 'write']})
        lab.save('8', unit, rows, t0)

    path = '/api/v1/namespaces/v/services/'
    do('Service created', 's', lambda: lab.svc('v', 's', {'app': 'x'}))
    do('selector x -> y', 's', lambda: api.merge(path + 's', {'spec': {'selector': {'app': 'y'}}}))
    do('selector y -> nothing matches', 's', lambda: api.merge(path + 's', {'spec': {'selector': {'app': 'none'}}}))
    do('selector nothing -> x', 's', lambda: api.merge(path + 's', {'spec': {'selector': {'app': 'x'}}}))
    do('port 80 -> 81, same targetPort', 's', lambda: api.merge(path + 's', {'spec': {'ports': [{'name': 'http', 'port': 81, 'targetPort': 8080}]}}))
    do('targetPort 8080 -> 9090', 's', lambda: api.merge(path + 's', {'spec': {'ports': [{'name': 'http', 'port': 81, 'targetPort': 9090}]}}))
    do('publishNotReadyAddresses true', 's', lambda: api.merge(path + 's', {'spec': {'publishNotReadyAddresses': True}}))
    do('publishNotReadyAddresses false', 's', lambda: api.merge(path + 's', {'spec': {'publishNotReadyAddresses': False}}))
    do('Service deleted', 's', lambda: api.delete(path + 's'), 3)
    do('Service re-created', 's', lambda: lab.svc('v', 's', {'app': 'x'}))
    def again():
        api.delete(path + 's')
        lab.svc('v', 's', {'app': 'x'})
    do('Service deleted and re-created at once', 's', again, 3)
    do('headless', 'h', lambda: lab.svc('v', 'h', {'app': 'x'}, clusterIP='None'))
    do('headless without ports', 'h0', lambda: api.post(path[:-1], {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'h0'}, 'spec': {'clusterIP': 'None', 'selector': {'app': 'x'}}}))
    do('no pods match', 'e', lambda: lab.svc('v', 'e', {'app': 'none'}))
    do('no selector', 'nosel', lambda: api.post(path[:-1], {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'nosel'}, 'spec': {'ports': [{'port': 80}]}}))
    do('ExternalName', 'ext', lambda: api.post(path[:-1], {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'ext'}, 'spec': {'type': 'ExternalName', 'externalName': 'example.org', 'selector': {'app': 'x'}}}))
    # named ports that differ between pods
    for i, port in enumerate((8080, 8080, 9090)):
        b.make(f'np{i}', {'app': 'np'}, f'n0{i}', ports=[{'name': 'web', 'containerPort': port}])
    b.make('np3', {'app': 'np'}, 'n03', ports=[{'name': 'other', 'containerPort': 7070}])
    do('named targetPort: 8080, 8080, 9090 and a pod without that name', 'np', lambda: lab.svc('v', 'np', {'app': 'np'}, target='web'))
    def two():
        api.post(path[:-1], {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'np2'}, 'spec': {'selector': {'app': 'np'}, 'ports': [
            {'name': 'a', 'port': 80, 'targetPort': 'web'}, {'name': 'b', 'port': 81, 'targetPort': 'other'}]}})
    do('two named targetPorts, no pod has both', 'np2', two)
    # dual stack
    b.make('dual0', {'app': 'dual'}, 'n05', ready=None)
    b.ip['dual0'].append('fd00:244::5')
    b.status('dual0', True)
    b.make('four', {'app': 'dual'}, 'n06')
    dual = has_two_families(lab)
    if dual: do('dual stack', 'dual', lambda: lab.svc('v', 'dual', {'app': 'dual'}, ipFamilyPolicy='RequireDualStack', ipFamilies=['IPv4', 'IPv6']))
    # the same address twice
    for i in range(2):
        b.make(f'hn{i}', {'app': 'hn'}, 'n07', ready=None)
        b.ip[f'hn{i}'] = ['10.0.3.7']
        b.status(f'hn{i}', True)
    do('two pods with one address', 'hn', lambda: lab.svc('v', 'hn', {'app': 'hn'}))
    def one(): b.drop('hn0')
    do('one of the two is removed', 'hn', one)
    # pods that ended
    def ended():
        lab.fleet.api.smp('/api/v1/namespaces/v/pods/x2/status', {'status': {'phase': 'Failed'}})
    do('pod phase Failed', 's', ended)
    def terminating():
        lab.fleet.api.delete('/api/v1/namespaces/v/pods/x1')
    do('pod deletionTimestamp, still Ready', 's', terminating)
    do('terminating pod not Ready', 's', lambda: b.status('x1', False))
    do('terminating pod, publishNotReadyAddresses true', 's', lambda: api.merge(path + 's', {'spec': {'publishNotReadyAddresses': True}}))
    do('pod removed', 's', lambda: b.drop('x1'))
    do('pod label removed', 's', lambda: api.merge('/api/v1/namespaces/v/pods/x0', {'metadata': {'labels': {'app': None}}}))
    if dual: do('slice deleted by hand', 'dual', lambda: [api.delete('/apis/discovery.k8s.io/v1/namespaces/v/endpointslices/' + s['metadata']['name']) for s in lab.slices('v', 'dual')], 4)
    lab.close()
