"""The control plane of an experiment: ours (`tiergate-sim up --control-plane-only`) or a real one (`tests/kubernetes/up`).

Both are started with the same options of the node lifecycle and the slice controller, write a kubeconfig, and keep a log of who
asked for what. No node runs: the experiments play the kubelets (`kubelets.py`).
"""
import atexit
import glob
import json
import os
import signal
import subprocess
import time

import clock

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
READY_SECONDS = 180
STOP_SECONDS = 30


class World:
    """A running control plane. `options` are flags of kube-controller-manager, which ours has too."""

    def __init__(self, kind, folder, options):
        self.kind, self.folder = kind, os.path.abspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.kubeconfig = os.path.join(self.folder, 'kubeconfig')
        self.requests = os.path.join(self.folder, 'requests.jsonl')
        for old in (self.kubeconfig, *glob.glob(self.requests + '*')):
            if os.path.exists(old):
                os.remove(old)
        command = self.ours(options) if kind == 'ours' else self.real(options)
        self.output = os.path.join(self.folder, 'output')
        with open(self.output, 'wb') as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        atexit.register(self.stop)
        self.wait_until_ready()
        with open(self.kubeconfig) as file:
            text = file.read()
        self.server, self.token = read_kubeconfig(text)

    def ours(self, options):
        binaries = os.environ.get('TIERGATE_BINARIES', os.path.join(REPOSITORY, 'target/release'))
        return [os.path.join(binaries, 'tiergate-sim'), 'up', '--control-plane-only', '--kubeconfig', self.kubeconfig,
                '--request-log', self.requests, *options]

    def real(self, options):
        return [os.path.join(REPOSITORY, 'tests/kubernetes/up'), self.folder, *('--controller-manager=' + option for option in options)]

    def wait_until_ready(self):
        end = clock.now() + READY_SECONDS
        while True:
            with open(self.output, errors='replace') as file:
                text = file.read()
            if 'ready' in text.splitlines():
                return
            if self.process.poll() is not None or clock.now() > end:
                raise SystemExit(f'the control plane did not become ready; its last words:\n{text[-3000:]}')
            time.sleep(0.1)

    def writes(self, t0, t1):
        """Finished writes near [t0, t1]: (begin, end, user, verb, resource, subresource, namespace, name, code,
        resourceVersion of the answer where the log has it), by end."""
        found = self.our_writes() if self.kind == 'ours' else self.real_writes()
        return sorted((w for w in found if t0 - 5 <= w[1] <= t1 + 5), key=lambda w: w[1])

    def our_writes(self):
        for path in sorted(glob.glob(self.requests + '*')):
            for entry in json_lines(path):
                if entry['verb'] in ('get', 'list', 'watch'):
                    continue
                resource, _, subresource = entry['resource'].partition('/')
                end = clock.parse(entry['time'])
                yield (clock.parse(entry['received']), end, account(entry['user']), entry['verb'], resource, subresource, entry['namespace'],
                       entry['name'], entry['code'], entry.get('version'))

    def real_writes(self):
        for path in sorted(glob.glob(os.path.join(self.folder, 'audit*.log'))):
            for entry in json_lines(path):
                if entry['verb'] in ('get', 'list', 'watch') or entry['stage'] != 'ResponseComplete':
                    continue
                ref = entry.get('objectRef') or {}
                yield (clock.parse(entry['requestReceivedTimestamp']), clock.parse(entry['stageTimestamp']),
                       account(entry['user']['username']), entry['verb'], ref.get('resource'), ref.get('subresource', ''),
                       ref.get('namespace', ''), ref.get('name', ''), (entry.get('responseStatus') or {}).get('code'), None)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def account(user):
    return user.replace('system:serviceaccount:kube-system:', '').replace('system:', '')


def json_lines(path):
    """The entries of a log; its last line may be half written."""
    with open(path, errors='replace') as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue


def read_kubeconfig(text):
    """Server and token of the first cluster and user; JSON, or YAML in which both stand on lines of their own."""
    try:
        config = json.loads(text)
        return config['clusters'][0]['cluster']['server'], config['users'][0]['user']['token']
    except ValueError:
        import re
        server = re.search(r'server:\s*"?([^"\s,}]+)', text)
        token = re.search(r'token:\s*"?([^"\s,}]+)', text)
        if not server or not token:
            raise SystemExit('the kubeconfig names no server and token')
        return server.group(1), token.group(1)
