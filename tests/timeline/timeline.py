#!/usr/bin/env python3
"""Repeats the recorded experiments on a control plane, and compares what it does with the record of a real one.

    timeline.py run [--world ours|kubernetes] [--work DIR] [EXPERIMENT…]    repeats them; without a name the short ones
    timeline.py compare [--work DIR] [--markdown FILE]                      compares what `run` wrote with recorded.jsonl
    timeline.py list                                                        names, times, and which are short

Experiments run side by side, each on a control plane of its own. `compare` ends with 1 when something differs.
"""
import argparse
import atexit
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "lab"), HERE]

# How many experiments run at once: each keeps a control plane and some twenty played kubelets busy.
AT_ONCE = 3


def catalogue():
    """Name -> (seconds, is short, run). The names are those of the runs in recorded.jsonl."""
    from experiments import create, disruption, flips, layout, nodes, rollouts, services
    death = nodes.run
    return {
        'grace20-period1': (190, True, lambda s, n: death(s, n, 20, 1, 12, short=True)),
        'three': (210, False, lambda s, n: disruption.run(s, n, 'three')),
        'roll': (190, True, rollouts.run),
        'services': (110, True, services.run),
        'create': (60, True, create.run),
        'flips3': (300, False, flips.run),
        'flips3-batch500': (330, False, lambda s, n: flips.run(s, n, ['--endpointslice-updates-batch-period=500ms'])),
        'flips': (480, False, lambda s, n: flips.run(s, n, many=True)),
        'layout': (240, False, layout.run),
        'grace20-period5': (240, False, lambda s, n: death(s, n, 20, 5, 20, short=True)),
        'grace50-period5': (640, False, lambda s, n: death(s, n, 50, 5, 24, short=False)),
        'all': (300, False, lambda s, n: disruption.run(s, n, 'all')),
        'partial60': (380, False, lambda s, n: disruption.run(s, n, 'partial60')),
        'partial40': (300, False, lambda s, n: disruption.run(s, n, 'partial40')),
        'zone': (300, False, lambda s, n: disruption.run(s, n, 'zone')),
    }


def run(settings):
    names = settings.experiments or [name for name, entry in catalogue().items() if entry[1]]
    unknown = [name for name in names if name not in catalogue()]
    if unknown:
        raise SystemExit(f'unknown experiment {unknown[0]}; there are: {" ".join(catalogue())}')
    os.makedirs(settings.work, exist_ok=True)
    if len(names) == 1:
        return catalogue()[names[0]][2](settings, names[0])
    # A process each: the experiments play many kubelets with threads, and would disturb one another's times.
    waiting, running, failed = sorted(names, key=lambda name: -catalogue()[name][0]), {}, []
    atexit.register(lambda: [process.terminate() for process in running.values()])
    while waiting or running:
        while waiting and len(running) < settings.at_once:
            name = waiting.pop(0)
            log = open(os.path.join(settings.work, name + '.log'), 'wb')
            running[name] = subprocess.Popen(
                [sys.executable, __file__, 'run', '--world', settings.world, '--work', settings.work, name],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        name = next(iter(running))
        for candidate, process in running.items():
            if process.poll() is not None:
                name = candidate
        try:
            status = running[name].wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
        del running[name]
        print(f'{name}: {"done" if status == 0 else f"ended with {status}, see its log"}', flush=True)
        if status:
            failed.append(name)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    for name in ('run', 'compare', 'list'):
        command = commands.add_parser(name)
        command.add_argument('--work', default='target/tests/timeline')
        if name == 'run':
            command.add_argument('--world', choices=('ours', 'kubernetes'), default='ours')
            command.add_argument('--at-once', type=int, default=AT_ONCE)
            command.add_argument('experiments', nargs='*')
        if name == 'compare':
            command.add_argument('--recorded', default=os.path.join(HERE, 'recorded.jsonl'))
            command.add_argument('--markdown')
    settings = parser.parse_args()
    # So that what was started is ended, as on any other way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if settings.command == 'run':
        sys.exit(run(settings))
    if settings.command == 'list':
        for name, (seconds, is_short, _) in catalogue().items():
            print(f'{name:18}{seconds:4} s{"  short" if is_short else ""}')
        return
    from compare import report
    sys.exit(report.compare(settings))


if __name__ == '__main__':
    main()
