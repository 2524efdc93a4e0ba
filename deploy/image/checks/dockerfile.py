"""What hadolint does not ask of deploy/image/Dockerfile: that it makes the image that the chart and the contract expect.

In: the texts of the Dockerfile, of its ignore file, and of the project. Out: what is wrong. Reads files and asks git.
"""

import fnmatch
import os
import re
import subprocess
import tomllib

DOCKERFILE = "deploy/image/Dockerfile"
IGNORE = DOCKERFILE + ".dockerignore"
PROGRAMS_FOLDER = "/usr/local/bin"


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def instructions(dockerfile):
    """(INSTRUCTION, rest) of each, with its continuation lines."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(steps):
    """The instructions before the first FROM, and those of each stage."""
    found = [[]]
    for step in steps:
        if step[0] == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def failures():
    wrong = []
    before, build, image = stages(instructions(text(DOCKERFILE)))
    pinned = dict(rest.split("=", 1) for name, rest in before if name == "ARG")
    if not re.fullmatch(r"\S+:[\w.-]+@sha256:[0-9a-f]{64}", pinned.get("RUST_IMAGE", "")):
        wrong.append("RUST_IMAGE names no digest")
    workspace = tomllib.loads(text("Cargo.toml"))["workspace"]
    version = workspace["package"]["rust-version"]
    if f"/rust:{version}." not in pinned["RUST_IMAGE"]:
        wrong.append(f"RUST_IMAGE is not Rust {version}, which Cargo.toml wants")
    if build[0][1] != "--platform=$BUILDPLATFORM ${RUST_IMAGE} AS build":
        wrong.append(f"the builder is {build[0][1]}: it must run where it is, not emulated")
    run = " ".join(rest for name, rest in build if name == "RUN")
    for wanted in (f"deploy/image/binaries /image{PROGRAMS_FOLDER}", "deploy/image/sbom /image/", "LICENSE /image/"):
        if wanted not in run:
            wrong.append(f"the builder does not run {wanted}…")

    tool = re.search(r"^ +cargo_program (\S+) ([\d.]+)$", text("tests/install"), re.MULTILINE)
    if f"cargo install --locked {tool[1]}@{tool[2]}" not in run:
        wrong.append(f"the builder does not install {tool[1]}@{tool[2]}, which tests/install has")

    rest_of = {name: rest for name, rest in image}
    if rest_of["FROM"] != "scratch":
        wrong.append(f"the image is made from {rest_of['FROM']}")
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", rest_of.get("USER", "")):
        wrong.append("USER is no pair of numbers other than 0: runAsNonRoot cannot tell who a name is")
    if rest_of.get("ENV") != f"PATH={PROGRAMS_FOLDER}":
        wrong.append(f"PATH is not {PROGRAMS_FOLDER}: `command: [tiergate-cluster]` is found by it")
    for name in ("RUN", "SHELL", "HEALTHCHECK", "VOLUME", "ADD", "ENTRYPOINT", "CMD"):
        if name in rest_of:
            wrong.append(f"the image has {name}: there is no shell, nothing to write, and two programs to choose from")
    ports = {port.split("/")[0] for port in rest_of.get("EXPOSE", "").split()}
    expected = default_ports()
    if ports != expected:
        wrong.append(f"EXPOSE has {sorted(ports)}; the tiers listen at {sorted(expected)}")
    wrong += context_failures()
    return wrong, f"{len(build) + len(image)} instructions, context of {len(context())} files"


def default_ports():
    """Where the tiers listen when nobody says otherwise, by the reference of the settings."""
    ports = set()
    for setting in ("http_address", "https_address", "admin_address"):
        row = re.search(rf"^.*`{setting}`.*$", text("docs/configuration.md"), re.MULTILINE)
        ports.update(re.findall(r"\d:(\d+)`", row.group(0)) if row else [])
    return ports


def context():
    """The files of the repository that the builder gets: the last pattern that matches decides, as BuildKit has it."""
    rules = [line for line in text(IGNORE).splitlines() if line and not line.startswith("#")]
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout.split()
    return [path for path in files if is_taken(path, rules)]


def is_taken(path, rules):
    """Whether no pattern, or last one with `!`, matches the path or a folder above it."""
    parts = path.split("/")
    prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    taken = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(matches(prefix, pattern) for prefix in prefixes):
            taken = rule.startswith("!")
    return taken


def matches(path, pattern):
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def context_failures():
    """What the build reads must be there, and what changes without changing the programs must not."""
    wrong = []
    taken = set(context())
    crates = ("data-plane", "control-plane", "cluster-tier", "namespace-tier")
    tracked = subprocess.run(["git", "ls-files", *crates], check=True, capture_output=True, text=True).stdout.split()
    wanted = {"Cargo.toml", "Cargo.lock", "LICENSE", "deploy/image/binaries", "deploy/image/sbom", *tracked}
    for member in tomllib.loads(text("Cargo.toml"))["workspace"]["members"]:
        wanted.add(f"{member}/Cargo.toml")
        manifest = tomllib.loads(text(f"{member}/Cargo.toml"))
        targets = [manifest.get("lib", {})] + manifest.get("test", []) + manifest.get("bin", [])
        for target in targets:
            if "path" in target:
                wanted.add(os.path.normpath(f"{member}/{target['path']}"))
    for path in sorted(wanted - taken):
        if os.path.exists(path):
            wrong.append(f"{IGNORE} leaves out {path}, which the build reads")
    for path in sorted(taken):
        if path.startswith((".git/", "target/", ".tools/", "docs/", "grafana/", "tests/kubernetes/", "deploy/charts/")):
            wrong.append(f"{IGNORE} takes {path}, which the build does not read")
    return wrong
