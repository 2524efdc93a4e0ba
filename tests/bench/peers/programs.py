"""Where the programs of peers are, and which version they are.

In: a name. Out: a path, or Missing with the command that installs it.
"""
import os, re, shutil, subprocess
from pathlib import Path

from processes import Missing

TOOLS = Path(__file__).resolve().parents[3] / ".tools/bin"


def find(name, installed=None):
    """The program of .tools/bin, where `tests/install bench` puts those that come in wheels, or of the machine."""
    path = TOOLS / installed if installed else shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path or not Path(path).exists():
        raise Missing(f"{name} is not installed (tests/install bench)")
    return str(path)


def version(command, pattern):
    """What a program says its version is."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=20)
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"
