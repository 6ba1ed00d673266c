"""Chroots of Debian's packages, one for each suite and machine, and commands in them.

The chroots need root, mmdebstrap and, for another machine than this one, qemu-user-static, by which binfmt_misc runs
its programs. They stay in `.cache/chroots` while they have the requested packages.
"""

import os
import shutil
import subprocess
from pathlib import Path

from ci.wheels.headers import KEYRING, MACHINES, SUITES

__all__ = ["can_have_chroot", "chroot_of", "is_foreign", "run_in", "virtual_environment"]

CHROOTS = Path(".cache/chroots")
MIRROR = "http://deb.debian.org/debian"
#: The programs that the tests and the README call in addition to CPython; none of them compiles.
TOOLS = ("curl", "iproute2", "openssl", "tzdata")
#: Within a chroot: the packages that it was made with.
PACKAGES = Path("etc/fastrpc-packages")
#: Programs that are called here: Debian's package of each.
NEEDED = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux"}
#: The folder in which binfmt_misc shows the programs that run programs of another machine.
EMULATORS = Path("/proc/sys/fs/binfmt_misc")
# Mounts of a namespace of its own end with its last process.
ENTER = 'mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" && mount -t proc proc "$1/proc" && exec chroot "$@"'
VARIABLES = ("PATH=/tmp/tried/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/root", "LANG=C.UTF-8")


def is_foreign(machine: str) -> bool:
    """Return whether an emulator runs the programs of a machine here."""
    return machine != os.uname().machine


def can_have_chroot(version: str, machine: str) -> bool:
    """Return whether Debian has a CPython, and its programs run here."""
    return version in SUITES and (not is_foreign(machine) or (EMULATORS / f"qemu-{machine}").exists())


def chroot_of(version: str, machine: str) -> Path | None:
    """Return a chroot with a CPython, made by an earlier run with the same packages or now; None if none can run."""
    if not can_have_chroot(version, machine):
        return None
    suite = SUITES[version]
    root = (CHROOTS / f"{suite}-{machine}").absolute()
    pythons = [f"python{each}" for each in SUITES if SUITES[each] == suite]
    packages = ",".join([*TOOLS, *(name + end for name in pythons for end in ("", "-venv"))])
    if not (root / PACKAGES).exists() or (root / PACKAGES).read_text() != packages:
        make_chroot(root, suite, machine, packages)
    return root


def make_chroot(root: Path, suite: str, machine: str, packages: str) -> None:
    """Make a chroot with packages, in place of an earlier one."""
    # The chroot is made at another path first, so that an existing chroot is always complete.
    new = root.with_name(f"{root.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    source = f"deb [signed-by={KEYRING}] {MIRROR} {suite} main"
    # A mirror may lag behind: lists are signed nevertheless.
    options = ("--mode=root", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"')
    chosen = (f"--include={packages}", f"--architectures={MACHINES[machine]}")
    # This mounts the /dev/shm of this machine, too. In a namespace, a kill leaves nothing mounted that the next run
    # would delete.
    run(["unshare", "--mount", "mmdebstrap", *options, *chosen, suite, str(new), source])
    (new / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (new / PACKAGES).write_text(packages)
    if root.exists():
        # The list of packages is removed first: the remains of an interrupted removal then count as no chroot.
        (root / PACKAGES).unlink(missing_ok=True)
        shutil.rmtree(root)
    new.rename(root)


def virtual_environment(root: Path, version: str) -> None:
    """Make an empty environment at `/tmp/tried` of a chroot; its programs are found first."""
    run_in(root, f"python{version}", "-m", "venv", "--clear", "/tmp/tried")


def run_in(root: Path, *command: str, folder: str = "/", is_shown: bool = False) -> str:
    """Run a program in a chroot, and return its output, or show it.

    Raises:
        SystemExit: it failed.
    """
    # Only pip's settings are passed on from this environment: another variable could name a compiler.
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    if authorities := os.environ.get("PIP_CERT"):
        shutil.copy(authorities, root / "tmp/authorities.pem")
        settings.append("PIP_CERT=/tmp/authorities.pem")
    entered = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh", str(root)]
    return run(
        [*entered, "env", "-i", f"--chdir={folder}", *VARIABLES, *settings, *command], is_shown=is_shown
    )


def run(command: list[str], *, is_shown: bool = False) -> str:
    """Run a program, and return its output, or show it.

    Raises:
        SystemExit: it failed.
    """
    for program in NEEDED:
        if program in command and shutil.which(program) is None:
            raise SystemExit(
                f"wheels: there is no {program}: install it (Debian: apt-get install {NEEDED[program]})"
            )
    done = subprocess.run(command, capture_output=not is_shown, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout or ''}{done.stderr or ''}")
    return done.stdout or ""
