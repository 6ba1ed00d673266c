"""Run tests on an installed wheel, in the chroot of its CPython: all of `make test` and `make slow`, or a choice."""

import shlex
import shutil
import subprocess
from pathlib import Path

from ci.groups import requirements_in
from ci.wheels.chroots import chroot_of, is_foreign, run_in
from ci.wheels.trial import INSTALL, bring

__all__ = ["EMULATED", "run_suite"]

OWN_TESTS = Path("ci/own_tests.txt")
#: Under an emulator everything takes many times as long, so only unit tests that are not slow run, and these tests.
EMULATED = Path(__file__).with_name("emulated.txt")
#: Some tests compile a library; the environment has a compiler for them, the chroot has no compiler.
COMPILER = '#!/bin/sh\nexec python -m ziglang cc "$@"\n'


def run_suite(wheel: Path, version: str, machine: str, harness: Path, arguments: str) -> None:
    """Install a wheel with the requirements of its tests, and run them.

    Args:
        harness: the folder of the compiled modules that only tests use.
        arguments: for pytest.

    Raises:
        SystemExit: a test failed, or something before the tests.
    """
    root = chroot_of(version, machine)
    if root is None:
        print(f"wheels: {version} {machine} is not tested: there is no chroot of it here")
        return
    requirements = requirements_of_tests()
    bring(root, wheel, version, requirements)
    run_in(root, *INSTALL, *requirements)
    packages = run_in(root, "python", "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip()
    shutil.copytree(harness, root / packages.lstrip("/") / harness.name)
    compiler = root / "tmp/tried/bin/cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    tree = root / "tmp/tree"
    shutil.rmtree(tree, ignore_errors=True)
    copy_tracked(tree)
    chosen = tests_of(is_foreign(machine)) + shlex.split(arguments)
    print(f"wheels: the tests of {wheel.name} in {root.name}: {shlex.join(chosen)}", flush=True)
    run_in(root, "python", "-m", "pytest", *chosen, folder="/tmp/tree", is_shown=True)


def requirements_of_tests() -> list[str]:
    """Return the requirements of the group `test`, and zig."""
    return [
        *requirements_in("test"),
        *(each for each in requirements_in("wheels") if each.startswith("ziglang")),
    ]


def tests_of(is_emulated: bool) -> list[str]:
    """Return the arguments of pytest that choose the tests."""
    places = ["tests/unit", *EMULATED.read_text().split()] if is_emulated else ["--ignore=tests/services"]
    marks = "not measures and not slow" if is_emulated else "not measures"
    own = [f"--ignore={path}" for path in OWN_TESTS.read_text().split()]
    return [*places, *own, "-m", marks, "-rsfE", "-p", "no:cacheprovider"]


def copy_tracked(folder: Path) -> None:
    """Copy the files that git knows, as they are here."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, target)
