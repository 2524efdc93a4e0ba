"""What a program of the image is as a file: static, position independent, stripped, small.

In: its path. Out: what is wrong, and its size. Runs readelf and ldd; does not start the program.
"""

import os
import re
import subprocess

BYTES_MAX = 25 << 20
PROGRAMS = ("tiergate-cluster", "tiergate-namespace")


def said(*command):
    """Both outputs of a command, whatever its exit status: ldd says of a static program that it is none of its own."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    return done.stdout + done.stderr


def failures(path, root):
    """Every reason why the program could not be alone in an image. `root` is the folder it was built in."""
    wrong = []
    headers = said("readelf", "--file-header", "--program-headers", "--dynamic", "--wide", path)
    if not re.search(r"Type:\s+DYN", headers):
        wrong.append(f"{path} is not position independent, so its addresses are the same in every process")
    for what in ("INTERP", "NEEDED"):
        if re.search(rf"\b{what}\b", headers):
            wrong.append(f"{path} has {what}: it needs what an empty image does not have")
    if not re.search(r"GNU_RELRO", headers):
        wrong.append(f"{path} has no GNU_RELRO: what it relocates stays writable")
    if not re.search(r"GNU_STACK\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+RW\s", headers):
        wrong.append(f"{path} has a stack that can be executed, or does not say so")
    sections = said("readelf", "--section-headers", "--wide", path)
    for section in re.findall(r"\s(\.symtab|\.z?debug_(?:info|line|str))\s", sections):
        wrong.append(f"{path} has {section}: it is not stripped")
    linked = said("ldd", path)
    if not re.search(r"statically linked|not a dynamic executable", linked):
        wrong.append(f"ldd {path}: {linked.strip()}")
    with open(path, "rb") as file:
        content = file.read()
    if root.encode() in content:
        wrong.append(f"{path} holds the path of the folder that it was built in: {root}")
    if len(content) > BYTES_MAX:
        wrong.append(f"{path} has {len(content)} bytes, more than {BYTES_MAX}")
    return wrong, len(content)
