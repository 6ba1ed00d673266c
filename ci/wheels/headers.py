"""The headers of each CPython: from Debian's packages, or from an interpreter of this machine."""

import os
import subprocess
from pathlib import Path

__all__ = ["MACHINES", "SUITES", "headers_of", "interpreters_named"]

#: The suite of Debian that contains a version; no suite contains 3.12.
SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky", "3.15": "forky"}
#: Machine of a wheel: its name in Debian.
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = """Types: deb
URIs: http://deb.debian.org/debian
Suites: {suite}
Components: main
Architectures: {architectures}
Signed-By: {keyring}
"""
# A mirror may lag behind: lists are signed nevertheless, and only headers are taken.
CONFIGURATION = """Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
APT::Architectures {{ {architectures} }};
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
"""


def headers_of(
    version: str, machine: str, cache: Path, interpreters: dict[tuple[str, str], str]
) -> list[Path] | None:
    """Return the include folders of a version for a machine; None if neither Debian nor this machine has them.

    Args:
        interpreters: programs to take the headers of, by version and machine.
    """
    if program := interpreters.get((version, machine)):
        return [Path(_ask(program, "sysconfig.get_path('include')"))]
    suite = SUITES.get(version)
    if suite is None:
        return None
    folder = cache / f"{version}-{machine}"
    include = folder / "usr" / "include"
    if not (include / f"python{version}" / "Python.h").exists():
        _unpack(f"libpython{version}-dev:{MACHINES[machine]}", suite, folder)
    return [include / f"python{version}", include]


def interpreters_named(programs: str) -> dict[tuple[str, str], str]:
    """Return interpreters by version and machine, from their names in `PYTHONS="python3.12 …"`."""
    found = {}
    for program in programs.split():
        version = _ask(program, "sysconfig.get_python_version()")
        found[version, _ask(program, "os.uname().machine")] = program
    return found


def _ask(program: str, expression: str) -> str:
    code = f"import os, sysconfig; print({expression})"
    return subprocess.run([program, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _unpack(package: str, suite: str, folder: Path) -> None:
    """Download a package of a suite and unpack it."""
    lists = _lists_of(suite, folder.parent / suite)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.deb"):
        old.unlink()
    _run(["apt-get", "--quiet", "download", package], lists, folder)
    (archive,) = folder.glob("*.deb")
    _run(["dpkg-deb", "--extract", archive.name, "."], lists, folder)


def _lists_of(suite: str, root: Path) -> Path:
    """Read the package lists of a suite into a tree of its own, and return apt's configuration for it."""
    configuration = root / "apt.conf"
    if configuration.exists():
        return configuration
    for name in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/dpkg"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    architectures = " ".join(MACHINES.values())
    sources = SOURCES.format(suite=suite, architectures=architectures, keyring=KEYRING)
    (root / "etc/apt/sources.list.d/debian.sources").write_text(sources)
    quoted = " ".join(f'"{name}";' for name in MACHINES.values())
    written = root / "apt.conf.new"
    written.write_text(CONFIGURATION.format(root=root.absolute(), architectures=quoted))
    _run(["apt-get", "--quiet", "update"], written, root)
    written.rename(configuration)
    return configuration


def _run(command: list[str], configuration: Path, folder: Path) -> None:
    environment = {**os.environ, "APT_CONFIG": str(configuration.absolute())}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
