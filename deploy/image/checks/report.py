"""Prints what was checked, a line for each group, as tests/run counts them."""

import os


class Report:
    """`ok GROUP: what was seen`, or what failed, indented, and then `FAILED GROUP`."""

    def __init__(self):
        self.failed = 0

    def group(self, name, failures, seen):
        if failures:
            for failure in failures:
                print(f"  {failure}")
            print(f"FAILED {name}", flush=True)
            self.failed += 1
        else:
            print(f"ok {name}: {seen}", flush=True)

    def skipped(self, name, why):
        print(f"skipped {name}: {why}", flush=True)

    def exit_code(self):
        return os.EX_OK if self.failed == 0 else 1
