"""deploy/package with a key that is made for this: both majors of helm package, sign and index the chart, each verifies what
the other signed, installs from the package as from the sources, and a package that was changed is refused."""

import contextlib
import pathlib
import shutil
import tempfile

import chart
import report

PACKAGE = chart.ROOT / "deploy/package"
USER = "Tiergate tests"
PASSPHRASE = "of no use elsewhere"


def check(outcome):
    if not shutil.which("gpg"):
        raise report.Skip("no gpg; `tests/install chart` gets it")
    with tempfile.TemporaryDirectory(prefix="tiergate-gpg-") as home:
        folder = pathlib.Path(home)
        environment = {"GNUPGHOME": home}
        (folder / "passphrase").write_text(PASSPHRASE)
        with agent(environment):
            gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase-file", folder / "passphrase"]
            made = chart.run([*gpg, "--quick-generate-key", USER, "rsa3072", "sign", "1d"], environment=environment)
            if made.code != 0:
                outcome.failed(made.why, made.command)
                return
            chart.run(["gpg", "--batch", "--output", folder / "public.gpg", "--export", USER], environment=environment)
            for major in chart.MAJORS:
                packaged(outcome, major, folder, environment)
    outcome.summary = f"helm {' and '.join(chart.MAJORS)} package, sign and index the chart; what was changed is refused"


@contextlib.contextmanager
def agent(environment):
    """gpg starts an agent for its folder; it must end with it."""
    try:
        yield
    finally:
        chart.run(["gpgconf", "--kill", "all"], environment=environment)


def packaged(outcome, major, folder, environment):
    out = folder / f"out-{major}"
    helm = {**environment, "HELM": str(report.TOOLS / f"bin/helm-{major}")}
    arguments = ["--key", USER, "--passphrase-file", folder / "passphrase", "--url", "https://charts.example.com", out]
    done = package(arguments, helm)
    if done.code != 0:
        outcome.failed(done.why, done.command)
        return
    version = chart.load((chart.CHART / "Chart.yaml").read_text())["version"]
    archive = out / f"tiergate-{version}.tgz"
    entry = chart.load((out / "index.yaml").read_text())["entries"]["tiergate"][0]
    if entry["urls"] != [f"https://charts.example.com/{archive.name}"] or entry["version"] != version:
        outcome.failed(f"helm {major}: the index says {entry}", done.command)
    again = package(arguments, helm)
    if again.code == 0 or "is there already" not in again.err:
        outcome.failed(f"a package that is there is replaced: {again.why}", again.command)
    for other in chart.MAJORS:
        verified = chart.helm(other, "verify", archive, "--keyring", folder / "public.gpg")
        if verified.code != 0 or USER not in verified.out:
            outcome.failed(f"helm {other} does not verify what helm {major} signed: {verified.why}", verified.command)
    # One byte more, and it is not what was signed.
    archive.write_bytes(archive.read_bytes() + b"\0")
    for other in chart.MAJORS:
        refused = chart.helm(other, "verify", archive, "--keyring", folder / "public.gpg")
        if refused.code == 0:
            outcome.failed(f"helm {other} verifies a package that was changed", refused.command)


def package(arguments, environment):
    return chart.run([PACKAGE, *arguments], environment=environment)
