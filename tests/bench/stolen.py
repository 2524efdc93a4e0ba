"""Time that this machine did not get: the host of a virtual machine gave it to others (`steal` of /proc/stat).

In: one measurement, to be called. Out: its sample, with the part of the time that was stolen meanwhile. A round that lost more than
`PERCENT_MAX` is measured again, whatever it said, for any proxy alike; when none is better, the least disturbed one counts and is shown so.
A run has `AGAIN_MAX` of them: on a machine that is never left alone it would not end.
"""
from pathlib import Path

PERCENT_MAX = 2.0
TRIES = 3
AGAIN_MAX = 60
# Columns of the line `cpu` of /proc/stat (proc(5)), in ticks.
IDLE, IOWAIT, STEAL = 3, 4, 7


def ticks(text=None):
    """Ticks that ran and ticks that were stolen, of all CPUs, since the machine was started."""
    fields = [int(field) for field in (text or Path("/proc/stat").read_text()).split("\n", 1)[0].split()[1:9]]
    ran = sum(fields) - fields[IDLE] - fields[IOWAIT] - fields[STEAL]
    return ran, fields[STEAL]


def percent(before, after):
    """How much of what the machine wanted to run was stolen between two looks."""
    ran, stolen = (later - earlier for later, earlier in zip(after, before))
    return 100 * stolen / max(1, ran + stolen)


def least(run, what, measure):
    """The least disturbed sample of a round."""
    best = None
    for number in range(1 if run.is_sanity else TRIES):
        if number > 0:
            if run.again == 0:
                break
            run.again -= 1
        before = ticks()
        sample = measure()
        sample["stolen_percent"] = percent(before, ticks())
        if best is None or sample["stolen_percent"] < best["stolen_percent"]:
            best = sample
        if best["stolen_percent"] <= PERCENT_MAX:
            break
        run.say(f"{what}: {sample['stolen_percent']:.0f} % of the time was stolen")
    return best
