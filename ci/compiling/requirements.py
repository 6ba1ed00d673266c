"""The requirements of a build, checked before it starts: CPython with the GIL, its headers, a C compiler, disk room.

`python ci/compiling/requirements.py` checks the interpreter that runs it, as `ci/setup` does; standard library only.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["check_compiler", "check_disk", "check_interpreter", "compiler_command"]

#: Generated C, objects and libraries of one module, measured: 1.1 MB for the C, twice 80 KB for the others.
BYTES_PER_MODULE = 1_400_000
#: The temporary files of the compilers that run at a time.
TEMPORARY_BYTES = 32_000_000

PROBE = "#include <Python.h>\n#include <stdio.h>\nint fastrpc_probe(void) { return PY_VERSION_HEX > 0; }\n"

#: System: how it names compiler with libc, and headers of an interpreter of a version.
PACKAGES = {
    "debian": ("apt-get install gcc libc6-dev", "apt-get install python{version}-dev"),
    "fedora": ("dnf install gcc", "dnf install python{version}-devel"),
    "rhel": ("dnf install gcc", "dnf install python{version}-devel"),
    "suse": ("zypper install gcc", "zypper install python{digits}-devel"),
    "alpine": ("apk add gcc musl-dev", "apk add python3-dev"),
    "arch": ("pacman -S gcc", "pacman -S python"),
    "darwin": ("xcode-select --install", "xcode-select --install"),
}
UNKNOWN = (
    "install a C compiler such as gcc, with the headers of libc",
    "install the headers of Python {version}",
)


def check_interpreter(
    variables: Callable[[str], object] = sysconfig.get_config_var,
    implementation: str = sys.implementation.name,
    platform: str = sys.platform,
) -> None:
    """Refuse interpreters and systems that the core is not made for."""
    if platform == "win32":
        raise SystemExit(
            "fastrpc does not run on Windows: the sockets of its blocking client are those of POSIX"
        )
    if implementation != "cpython":
        raise SystemExit(f"fastrpc needs CPython, this is {implementation}")
    if variables("Py_GIL_DISABLED"):
        raise SystemExit(
            "fastrpc cannot be built for a free-threaded CPython: the core relies on the GIL for the state that "
            "threads share, and nothing has been tested without it; use the ordinary build of the same version"
        )


def compiler_command(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the C compiler that setuptools will start; it may be several words, such as `ccache gcc`."""
    command = shlex.split(environment.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    if not command:
        raise SystemExit("CC is blank; unset it, or name a C compiler")
    return command


def check_compiler(command: Sequence[str], include: str | None = None) -> None:
    """Compile and link a small module with the headers of this interpreter."""
    include = include or sysconfig.get_path("include")
    compiler, headers = _packages()
    if not Path(include, "Python.h").exists():
        raise SystemExit(
            f"fastrpc is compiled, and {include} has no Python.h; install the headers: {headers}"
        )
    if shutil.which(command[0]) is None:
        raise SystemExit(
            f"fastrpc is compiled, and there is no C compiler {command[0]!r}; install one: {compiler}"
        )
    try:
        failed, said = _probed(command, {include, sysconfig.get_path("platinclude")})
    except OSError:
        check_disk(Path("build"), 1)
        raise
    if failed:
        # The compiler has no words for a folder of temporary files that is full.
        check_disk(Path("build"), 1)
        raise SystemExit(
            f"{shlex.join(command)} compiles no module of Python: {said}; install it anew: {compiler}"
        )


def _probed(command: Sequence[str], includes: set[str]) -> tuple[bool, str]:
    """Compile and link a small module; return whether that failed, and the error."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE)
        target = ["-o", str(source.with_suffix(".so"))]
        tried = subprocess.run(
            [
                *command,
                *(f"-I{path}" for path in includes),
                "-fPIC",
                "-shared",
                *_undefined(),
                str(source),
                *target,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    said = next((line for line in tried.stderr.splitlines() if "error" in line), tried.stderr.strip())
    return bool(tried.returncode), said


def check_disk(build: Path, modules: int, free_of: Callable[[Path], int] | None = None) -> None:
    """Refuse to start where the generated C or the files of the compiler would not fit."""
    free_of = free_of or (lambda folder: shutil.disk_usage(folder).free)
    folder = next(path for path in (build.absolute(), *build.absolute().parents) if path.exists())
    for place, needed in (
        (folder, modules * BYTES_PER_MODULE),
        (_temporary_folder(), TEMPORARY_BYTES),
    ):
        if modules and (free := free_of(place)) < needed:
            raise SystemExit(
                f"compiling {_counted(modules)} takes {needed / 1e6:,.0f} MB in {place}, where {free / 1e6:,.0f} MB "
                f"are free; make room, or set TMPDIR to a larger disk where it is the folder of temporary files"
            )


def _counted(modules: int) -> str:
    return "1 module" if modules == 1 else f"{modules} modules"


def _temporary_folder() -> Path:
    """Return the folder that compilers use; Python skips a folder in which it cannot write."""
    given = os.environ.get("TMPDIR", "")
    return Path(given) if given and Path(given).is_dir() else Path(tempfile.gettempdir())


def _undefined() -> list[str]:
    """Return the flag for symbols that the interpreter brings."""
    return ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []


def _packages() -> tuple[str, str]:
    """Return the commands that install compiler and headers here."""
    names = ["darwin"] if sys.platform == "darwin" else _system_names()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiler, headers = next((PACKAGES[name] for name in names if name in PACKAGES), UNKNOWN)
    return compiler, headers.format(version=version, digits=version.replace(".", ""))


def _system_names(release: Path = Path("/etc/os-release")) -> list[str]:
    """Return the name of this Linux and of the ones it derives from, nearest first."""
    if not release.exists():
        return []
    lines = (line.partition("=") for line in release.read_text(encoding="utf-8").splitlines())
    fields = {name: value.strip("\"'") for name, _, value in lines}
    return [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]


if __name__ == "__main__":
    check_interpreter()
    check_compiler(compiler_command())
