"""What a group of checks found, and how it is shown.

A check is a function that takes an Outcome and adds to it: `failed` for each thing that is wrong, `summary` for what was
looked at when all is well. Raising Skip says that it could not look.
"""

import pathlib
import shutil
import traceback

TOOLS = pathlib.Path(__file__).resolve().parents[2] / ".tools"

# Failures that are shown for a group; the rest is counted.
SHOWN_MAX = 30


class Skip(Exception):
    """The group cannot be checked here, for this reason."""


class Outcome:
    def __init__(self, skipped=None, update=False):
        self.summary = ""
        self.failures = []
        self.skipped = skipped
        self.update = update

    def failed(self, what, command=None):
        """Something is wrong; the command shows it."""
        self.failures.append((what, command))

    def show(self, group, seconds):
        """Prints the line of the group; answers 1 when it failed."""
        if self.skipped:
            print(f"skipped {group}: {self.skipped}")
            return 0
        if not self.failures:
            print(f"ok {group}: {self.summary} ({seconds:.1f} s)")
            return 0
        for what, command in self.failures[:SHOWN_MAX]:
            print("    " + str(what).strip().replace("\n", "\n      "))
            if command:
                print(f"      $ {command}")
        if len(self.failures) > SHOWN_MAX:
            print(f"    and {len(self.failures) - SHOWN_MAX} more")
        print(f"FAILED {group}: {len(self.failures)} failures ({seconds:.1f} s); again: tests/chart/run {group}")
        return 1


def run(check, update):
    outcome = Outcome(update=update)
    try:
        check(outcome)
    except Skip as reason:
        outcome.skipped = str(reason)
    except Exception:
        outcome.failed(traceback.format_exc())
    return outcome


def missing():
    """Why nothing can be checked, or None."""
    for program in ["bin/helm-3", "bin/helm-4", "bin/kubectl-1.37", "python/yaml"]:
        if not (TOOLS / program).exists():
            return f"no .tools/{program}; `tests/install chart` gets it"
    if not shutil.which("git"):
        return "no git"
    return None
