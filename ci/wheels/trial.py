"""Try a wheel as a new machine has it: in a chroot of Debian's packages, without a compiler, an index or this tree."""

import os
import shutil
import time
from pathlib import Path

from ci.wheels.chroots import chroot_of, run_in, virtual_environment

__all__ = ["bring", "try_wheel"]

#: Programs that compile C.
COMPILERS = ("cc", "gcc", "clang", "tcc", "zig")
INSTALL = ("pip", "install", "--quiet", "--no-index", "--find-links=/tmp/brought")


def try_wheel(wheel: Path, version: str, machine: str) -> None:
    """Install a wheel in a chroot with a CPython, and run the README's first service there.

    Raises:
        SystemExit: something of it failed.
    """
    root = chroot_of(version, machine)
    if root is None:
        print(f"wheels: {version} {machine} is not tried: there is no chroot of it here")
        return
    found = [name for name in COMPILERS if shutil.which(name, path=_path_in(root))]
    if found:
        raise SystemExit(f"wheels: the chroot {root.name} has a compiler: {', '.join(found)}")
    bring(root, wheel, version, ["fastrpc[cli]"])
    seconds = [_seconds_of(root, *INSTALL, what) for what in ("fastrpc", "fastrpc[cli]")]
    print(run_in(root, "fastrpc", "--version").strip())
    print(run_in(root, "python", "/tmp/brought/try_wheel.py", "/tmp/brought/README.md").strip())
    print(
        f"wheels: {wheel.name} was installed in {root.name} without a compiler, in {seconds[0]:.1f} s, "
        f"the command line in {seconds[1]:.1f} s",
        flush=True,
    )


def bring(root: Path, wheel: Path, version: str, requirements: list[str]) -> None:
    """Put a wheel into `/tmp/brought` of a chroot, with all wheels that requirements have; leave an empty environment.

    Args:
        requirements: for pip; those of fastrpc mean this wheel.
    """
    brought = root / "tmp/brought"
    shutil.rmtree(brought, ignore_errors=True)
    brought.mkdir(parents=True)
    for path in (wheel, Path("ci/try_wheel.py"), Path("README.md")):
        shutil.copy(path, brought)
    virtual_environment(root, version)
    # The chroot's own pip reads the requirements, as their conditions are about the interpreter that reads them.
    download = ("pip", "download", "--quiet", "--only-binary=:all:", "--dest=/tmp/brought")
    placed = f" @ file:///tmp/brought/{wheel.name}"
    run_in(root, *download, *(each + placed * each.startswith("fastrpc[") for each in requirements))


def _seconds_of(root: Path, *command: str) -> float:
    started = time.monotonic()
    run_in(root, *command)
    return time.monotonic() - started


def _path_in(root: Path) -> str:
    return os.pathsep.join(str(root / name) for name in ("usr/local/bin", "usr/bin"))
