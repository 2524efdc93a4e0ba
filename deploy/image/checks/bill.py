"""What deploy/image/sbom writes: whether it tells of every crate, the same twice.

In: a folder to write to. Out: what is wrong. Runs the script twice and reads what it wrote; asks cargo which crates there are.
"""

import json
import os
import re
import subprocess

from program import PROGRAMS

UNAVAILABLE = 69
# Crates that name a licence and bring no text: their repositories hold it.
TEXTS_MISSING_MAX = 10
# Crates that a bill may list and the program does not hold.
SURPLUS_MAX = 10


def crates(package):
    """(name, version) of what is compiled for a package, its own workspace left out."""
    said = subprocess.run(
        ["cargo", "tree", "--locked", "--package", package, "--edges", "normal,build", "--prefix", "none", "--no-dedupe",
         "--format", "{p}"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120).stdout
    found = re.findall(r"^(\S+) v(\S+)(?: \(proc-macro\))?$", said, re.MULTILINE)
    assert len(found) > 100, said
    return set(found)


def write(folder):
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(["deploy/image/sbom", folder], env=variables, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300)
    return done.returncode, done.stderr.strip()


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def failures(folder):
    """What is wrong, what was seen, and why there are no bills."""
    first, second = os.path.join(folder, "1"), os.path.join(folder, "2")
    code, error = write(first)
    if code not in (0, UNAVAILABLE):
        return [error], "", None
    write(second)
    wrong = [f"{name} is not the same twice" for name in sorted(os.listdir(first)) if read(first, name) != read(second, name)]
    notice = read(first, "THIRD-PARTY.txt")
    parts = re.split(r"^={80}\n", notice, flags=re.MULTILINE)[1:]
    told = {tuple(re.match(r"(\S+) (\S+): \S", part).groups()) for part in parts}
    wanted = set.union(*(crates(package) for package in PROGRAMS))
    for name, version in sorted(wanted ^ told):
        wrong.append(f"THIRD-PARTY.txt: {name} {version} is {'missing' if (name, version) in wanted else 'not compiled'}")
    bare = [part.split(":")[0] for part in parts if "\n--- " not in part]
    if len(bare) > TEXTS_MISSING_MAX:
        wrong.append(f"THIRD-PARTY.txt has no text for {', '.join(bare)}")
    if code == UNAVAILABLE:
        return wrong, f"{len(told)} crates", error
    for package in PROGRAMS:
        bill = json.loads(read(first, f"{package}.cdx.json"))
        listed = {(one["name"], one["version"]) for one in bill["components"] if not one["name"].startswith("tiergate-")}
        # It may list more: what features of other crates of the workspace would bring (cargo metadata unites them).
        for name, version in sorted(crates(package) - listed):
            wrong.append(f"{package}.cdx.json: {name} {version} is missing")
        if len(listed) > len(crates(package)) + SURPLUS_MAX:
            wrong.append(f"{package}.cdx.json: {len(listed)} crates, {len(crates(package))} are compiled")
        for one in bill["components"]:
            if not one.get("licenses"):
                wrong.append(f"{package}.cdx.json: {one['name']} has no licence")
        if os.getcwd() in json.dumps(bill):
            wrong.append(f"{package}.cdx.json tells where it was made")
    return wrong, f"{len(told)} crates, {len(bare)} of them name a licence without its text", None
