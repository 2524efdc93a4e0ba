#!/usr/bin/env python3
"""Measures the tiers beside other proxies.

    run [--quick | --sanity] [--workloads A,B] [--proxies X,Y] [--rounds N] [--seconds S]
        [--json FILE] [--markdown FILE] [--plot FILE] [--record]

The figure is the CPU time of the proxy's processes for each request, divided by that of a reference that ran in the same rounds.
tests/bench/README.md says how each proxy is set; docs/performance.md how the figures are to be read.

Exit status: 0; 1 when a must is missed; 2 usage; 4 when something that is needed is missing, or a must could not be judged.
With --sanity: 0 when every piece works, however fast; 1 when one does not.
"""
import argparse, json, os, signal, sys, tempfile
from pathlib import Path

import bars, change, contract, figures, idle, machine, plot, rate, record, report, throughput, workloads
from processes import Failure, Missing, cpus, stop_all
from session import Session

STAGES = {"requests": throughput.measure, "change": change.measure, "idle": idle.measure, "rate": rate.measure}
FULL, QUICK, SANITY = (5, 2), (2, 1), (1, 1)  # rounds, and seconds of each


def arguments(words):
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few short rounds beside the references alone: a look")
    parser.add_argument("--sanity", action="store_true", help="one round of a second: whether everything works, not how fast it is")
    parser.add_argument("--workloads", metavar="A,B", help="only these: " + " ".join(workloads.ALL))
    parser.add_argument("--proxies", metavar="X,Y", help="only these, and those that ours are divided by")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds of each proxy")
    parser.add_argument("--seconds", type=int, metavar="S", help="length of a round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plot (SVG) there")
    parser.add_argument("--record", action="store_true", help="write the tables and the plot into docs/")
    chosen = parser.parse_args(words)
    if chosen.workloads is None:
        chosen.workloads = list(workloads.SANITY if chosen.sanity else workloads.ALL)
    else:
        chosen.workloads = chosen.workloads.split(",")
    for name in chosen.workloads:
        if name not in workloads.ALL:
            parser.error(f"no workload {name}; there are: {' '.join(workloads.ALL)}")
    known = {proxy for workload in workloads.ALL.values() for proxy in workload.proxies}
    chosen.proxies = chosen.proxies.split(",") if chosen.proxies else None
    for name in chosen.proxies or ():
        if name not in known:
            parser.error(f"no proxy {name}; there are: {' '.join(sorted(known))}")
    chosen.has_rounds = chosen.rounds is not None
    rounds, seconds = SANITY if chosen.sanity else QUICK if chosen.quick else FULL
    chosen.rounds, chosen.seconds = chosen.rounds or rounds, chosen.seconds or seconds
    if chosen.rounds < 1 or chosen.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    if chosen.record and chosen.sanity:
        parser.error("--sanity says whether it works: its figures are no record")
    return chosen


def measured(chosen, folder):
    """Everything that was asked for, as one value."""
    with Session(chosen, folder) as run:
        rows = []
        for name in chosen.workloads:
            workload = workloads.ALL[name]
            rows += report_rows(run, workload)
        return {"machine": machine.machine(), "date": machine.date(), "commit": machine.commit(),
                "versions": machine.versions(run.peers(), run.binaries), "settings": run.settings(), "rows": rows, "missing": run.missing}


def report_rows(run, workload):
    try:
        return STAGES[workload.stage](run, workload)
    except (Failure, Missing, OSError, ValueError) as error:
        # The other workloads are still worth their hour.
        run.trouble(workload.name, "all", error)
        return []


def write(chosen, result):
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    if chosen.markdown:
        chosen.markdown.write_text(report.markdown(result))
    if chosen.plot:
        chosen.plot.write_text(plot.svg(result["rows"]))
    if chosen.record:
        record.write(result)


def main():
    chosen = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if len(cpus("load", pinned=True)) < 1:
        print("two CPUs are needed: one for the proxy, one for the load", file=sys.stderr)
        return 4
    with tempfile.TemporaryDirectory(prefix="tiergate-bench-") as name:
        try:
            result = measured(chosen, Path(name))
        except (Failure, Missing) as error:
            print(error, file=sys.stderr)
            return 4 if isinstance(error, Missing) else 1
        finally:
            stop_all()
    print(report.markdown(result))
    write(chosen, result)
    if chosen.sanity:
        problems = contract.problems(json.loads(json.dumps(result)), chosen.workloads)
        for problem in problems:
            print(f"wrong: {problem}")
        return 1 if problems else 0
    return figures.outcome(result["rows"], chosen.workloads)


if __name__ == "__main__":
    sys.exit(main())
