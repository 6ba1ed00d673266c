"""Build the wheels and, on request, try and test them; or with `--check` compile the core for other systems."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

from setuptools import Extension

from ci.check_distributions import check_wheel
from ci.compiling.freshness import declarations_of
from ci.compiling.parallel import WorkFailedError, forked
from ci.compiling.profiles import DIRECTIVES, HARNESS, extensions_of
from ci.compiling.translation import Translator
from ci.wheels.assembly import assemble
from ci.wheels.chroots import can_have_chroot
from ci.wheels.headers import MACHINES, headers_of, interpreters_named
from ci.wheels.image import based_on, try_image
from ci.wheels.suite import run_suite
from ci.wheels.trial import try_wheel
from ci.wheels.zig import CHECKED, Target, compile_module

BUILD = Path("build/wheels")
CACHE = Path(".cache/headers")
SOURCES = Path("src")
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")


def main() -> None:
    parser = argparse.ArgumentParser(prog="ci.wheels", description=__doc__)
    parser.add_argument("--versions", default=" ".join(VERSIONS), help="of CPython")
    parser.add_argument("--machines", default=" ".join(MACHINES))
    parser.add_argument("--output", type=Path, default=Path("dist"))
    parser.add_argument("--run", action="store_true", help="try each in a chroot, as root with mmdebstrap")
    parser.add_argument(
        "--tests",
        metavar="ARGUMENTS",
        help="test each there, with these arguments for pytest: --tests='-n 2'",
    )
    parser.add_argument("--check", action="store_true", help="compile for macOS and musl, and ship nothing")
    chosen = parser.parse_args()
    pairs = list(product(chosen.versions.split(), chosen.machines.split()))
    if (chosen.run or chosen.tests is not None) and not any(can_have_chroot(*pair) for pair in pairs):
        raise SystemExit(
            "wheels: --run and --tests need a chroot, and none of these wheels can have one here"
        )
    extensions = extensions_of("release", with_harness=chosen.tests is not None)
    translate_all(extensions)
    if chosen.check:
        check_targets(extensions)
        return
    interpreters = interpreters_named(os.environ.get("PYTHONS", ""))
    base = build_base()
    for version, machine in pairs:
        includes = headers_of(version, machine, CACHE, interpreters)
        if includes is None:
            print(
                f"wheels: {version} {machine} is left out: name an interpreter of it, PYTHONS=python{version}"
            )
            continue
        wheel = build_wheel(version, machine, includes, extensions, base, chosen.output)
        if chosen.run:
            try_wheel(wheel, version, machine)
            if based_on(version):
                try_image(wheel, version, machine)
        if chosen.tests is not None:
            harness = BUILD / f"{version}-{machine}" / HARNESS.name
            run_suite(wheel, version, machine, harness, chosen.tests)


def translate_all(extensions: list[Extension]) -> None:
    """Write the C of all modules."""
    shutil.rmtree(BUILD / "cython", ignore_errors=True)
    translator = Translator(DIRECTIVES, BUILD / "cython", str(SOURCES))
    declared = {path for each in extensions for path in declarations_in(Path(each.sources[0]))}
    translator.read_declarations(
        ".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in declared
    )
    each_of(extensions, lambda each: translator.translate(each.name, Path(each.sources[0])), "translated")


def declarations_in(source: Path) -> set[Path]:
    return declarations_of(source, SOURCES) if source.exists() else set()


def build_base() -> Path:
    """Build the wheel without compiled modules, and return it."""
    # setuptools would add files that an earlier build left there.
    for left in (BUILD / "base", Path("build/none")):
        shutil.rmtree(left, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(BUILD / "base")]
    done = subprocess.run(
        command, env={**os.environ, "FASTRPC_BUILD": "none"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    (base,) = (BUILD / "base").glob("*.whl")
    return base


def build_wheel(
    version: str, machine: str, includes: list[Path], extensions: list[Extension], base: Path, output: Path
) -> Path:
    """Compile all modules for one CPython on one machine, assemble the wheel and return it."""
    digits = version.replace(".", "")
    suffix = f".cpython-{digits}-{machine}-linux-gnu.so"
    target = Target.linux(machine, includes)
    folder = BUILD / f"{version}-{machine}"
    paths = {each.name: each.name.replace(".", "/") + suffix for each in extensions}

    def compile_one(each: Extension) -> None:
        arguments = [*arguments_of(each), *each.extra_link_args]
        compile_module(target, c_of(each), folder / paths[each.name], arguments, link=True)

    each_of(extensions, compile_one, f"compiled for CPython {version}, {machine}")
    modules = {path: folder / path for path in paths.values() if not path.startswith(HARNESS.name)}
    tag = f"cp{digits}-cp{digits}-manylinux_2_28_{machine}"
    wheel = assemble(base, modules, tag, epoch(), output)
    if faults := check_wheel(wheel):
        raise SystemExit("\n".join(faults))
    print(f"wheels: {wheel} {wheel.stat().st_size:,} bytes", flush=True)
    return wheel


def check_targets(extensions: list[Extension]) -> None:
    """Compile all modules for systems that no wheel is made for."""
    for name in CHECKED:
        target = Target(name, tuple(foreign_headers(name)))

        def compile_one(each: Extension, target: Target = target) -> None:
            compile_module(
                target, c_of(each), BUILD / target.name / f"{each.name}.o", arguments_of(each), link=False
            )

        each_of(extensions, compile_one, f"compiled for {name}")


def foreign_headers(target: str) -> list[Path]:
    """Return headers for a system that has none in Debian: the ones for Linux; for macOS with another `pyconfig.h`."""
    includes = headers_of("3.13", target.partition("-")[0], CACHE, {})
    assert includes is not None
    if not target.endswith("-macos"):
        return includes
    folder = BUILD / "macos-headers"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(includes[0], folder)
    shutil.copy(Path(__file__).with_name("pyconfig_macos.h"), folder / "pyconfig.h")
    return [folder]


def arguments_of(extension: Extension, level: str | None = None) -> list[str]:
    """Return the compiler's arguments for zig; `level` replaces all levels.

    To zig `-Og` means no optimisation, and without that it adds checks that end the program.
    """
    given = extension.extra_compile_args
    arguments = [level or "-Os" if each in {"-Og", "-O0"} else each for each in given]
    levels = [level if level and each.startswith("-O") else each for each in arguments]
    return [*levels, *(f"-D{name}={value}" for name, value in extension.define_macros)]


def c_of(extension: Extension) -> Path:
    return BUILD / "cython" / Path(extension.sources[0]).with_suffix(".c")


def each_of(extensions: list[Extension], work: Callable[[Extension], object], done: str) -> None:
    """Do something with each module, on all cores."""
    try:
        count = len(list(forked(extensions, work)))
    except WorkFailedError as error:
        raise SystemExit(f"wheels: {error.args[0].name} was not {done}") from None
    print(f"wheels: {count} modules {done}", flush=True)


def epoch() -> int:
    """Return the time of the files of a wheel: SOURCE_DATE_EPOCH, or that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
