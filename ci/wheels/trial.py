"""Try a wheel as a new machine has it: in a chroot of Debian's packages, without a compiler, an index or this tree.

It needs root and mmdebstrap. Chroots stay in `.cache/chroots`; the wheels that fastrpc requires are downloaded outside.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ci.wheels.headers import KEYRING, MACHINES, SUITES

__all__ = ["try_wheel"]

CHROOTS = Path(".cache/chroots")
#: Programs that compile C.
COMPILERS = ("cc", "gcc", "clang", "tcc", "zig")
MIRROR = "http://deb.debian.org/debian"


def try_wheel(wheel: Path, version: str, machine: str) -> None:
    """Install a wheel in a chroot with a CPython, and serve and call a service there.

    Raises:
        SystemExit: something of it failed.
    """
    suite = SUITES.get(version)
    if suite is None or machine != os.uname().machine:
        print(f"wheels: {version} {machine} is not tried: there is no chroot of it here")
        return
    root = _chroot_of(version, suite, machine)
    brought = root / "tmp/brought"
    shutil.rmtree(brought, ignore_errors=True)
    _download(wheel, version, machine, brought)
    shutil.copy("ci/try_wheel.py", brought)
    found = [name for name in COMPILERS if shutil.which(name, path=_path_in(root))]
    if found:
        raise SystemExit(f"wheels: the chroot of {suite} has a compiler: {', '.join(found)}")
    _run_in(root, f"python{version}", "-m", "venv", "--clear", "/tmp/tried")
    started = time.monotonic()
    _run_in(root, "/tmp/tried/bin/pip", "install", "--no-index", "--find-links=/tmp/brought", "fastrpc[cli]")
    seconds = time.monotonic() - started
    print(_run_in(root, "/tmp/tried/bin/fastrpc", "--version").strip())
    print(_run_in(root, "/tmp/tried/bin/python", "/tmp/brought/try_wheel.py").strip())
    print(f"wheels: {wheel.name} was installed in {suite} without a compiler, in {seconds:.1f} s", flush=True)


def _chroot_of(version: str, suite: str, machine: str) -> Path:
    """Return a chroot with a CPython; the one that an earlier run has made."""
    root = (CHROOTS / f"{version}-{machine}").absolute()
    if not root.exists():
        # Elsewhere first: what is there is whole.
        new = root.with_name(f"{root.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        source = f"deb [signed-by={KEYRING}] {MIRROR} {suite} main"
        # A mirror may lag behind: lists are signed all the same.
        options = ("--mode=root", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"')
        packages = f"--include=python{version},python{version}-venv"
        _run(
            "mmdebstrap", *options, packages, f"--architectures={MACHINES[machine]}", suite, str(new), source
        )
        new.rename(root)
    return root


def _download(wheel: Path, version: str, machine: str, folder: Path) -> None:
    """Put a wheel into a folder, with those of what it requires with the command line."""
    folder.mkdir(parents=True)
    platforms = (
        f"--platform={name}_{machine}" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    )
    chosen = ("--only-binary=:all:", f"--python-version={version}", *platforms, f"--dest={folder}")
    _run(sys.executable, "-m", "pip", "download", "--quiet", *chosen, f"{wheel}[cli]")


def _path_in(root: Path) -> str:
    return os.pathsep.join(str(root / name) for name in ("usr/local/bin", "usr/bin"))


def _run_in(root: Path, *command: str) -> str:
    # Of the environment nothing comes along: a variable could name a compiler or an index.
    return _run(
        "env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", "chroot", str(root), *command
    )


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(
            f"wheels: there is no {command[0]}: install it (Debian: apt-get install mmdebstrap)"
        ) from None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
