"""Whether a compiled module is up to date, by content: a key of all its inputs, and a record of past builds."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import Cython

__all__ = ["Record", "declarations_of", "describe_tools", "digest_of", "key_of"]

#: Raise it where the way of building changes without a change of flags.
FORMAT = 1

#: Inputs of compilers other than their arguments.
VARIABLES = (
    *("COMPILER_PATH", "CPATH", "C_INCLUDE_PATH", "GCC_EXEC_PREFIX", "LIBRARY_PATH"),
    *("MACOSX_DEPLOYMENT_TARGET", "SDKROOT"),
)
HEADERS = ("pyconfig.h", "patchlevel.h")


def describe_tools(
    compiler: Sequence[str], linker: Sequence[str], directives: Mapping[str, object]
) -> dict[str, object]:
    """Return the common inputs of all modules of a build: Cython, compiler, interpreter and system."""
    include = Path(sysconfig.get_path("include"))
    return {
        "format": FORMAT,
        "cython": Cython.__version__,
        "directives": dict(directives),
        "commands": [list(compiler), list(linker)],
        "compiler": [
            _output([*compiler[: _program_at(compiler) + 1], flag]) for flag in ("--version", "-dumpmachine")
        ],
        "environment": {name: os.environ.get(name) for name in VARIABLES},
        "interpreter": [
            sys.version,
            sysconfig.get_config_var("EXT_SUFFIX"),
            sysconfig.get_config_var("CONFIG_ARGS"),
        ],
        "headers": [digest_of(include / name) for name in HEADERS if (include / name).exists()],
        "system": [platform.machine(), *platform.libc_ver()],
    }


def key_of(settings: Mapping[str, object], files: Iterable[Path]) -> str:
    """Return the key of a module: a digest of its inputs, and of the names and contents of files."""
    summary = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in sorted(files):
        summary.update(f"\n{path.as_posix()} {digest_of(path)}".encode())
    return summary.hexdigest()


def digest_of(path: Path) -> str:
    """Return a digest of a file as it is now."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def declarations_of(source: Path, root: Path) -> set[Path]:
    """Return the declarations that a source cimports, directly or not, its own among them."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        own = path.with_suffix(".pxd")
        named = [own] if own.exists() else []
        for declaration in (*named, *_cimported(path, path.stat().st_mtime_ns, root)):
            if declaration not in found:
                found.add(declaration)
                waiting.append(declaration)
    return found


@cache
def _cimported(path: Path, modified: int, root: Path) -> tuple[Path, ...]:
    """Return the declarations below `root` that a file names. Absolute names only: relative imports are banned."""
    text = path.read_text(encoding="utf-8")
    names = re.findall(r"^[ \t]*cimport[ \t]+([\w.]+)", text, re.MULTILINE)
    for package, members in re.findall(
        r"^[ \t]*from[ \t]+([\w.]+)[ \t]+cimport[ \t]+(\([^)]*\)|.*)$", text, re.MULTILINE
    ):
        names += [package, *(f"{package}.{member}" for member in re.findall(r"\w+", members))]
    paths = (root / Path(*name.split(".")).with_suffix(".pxd") for name in dict.fromkeys(names))
    return tuple(declaration for declaration in paths if declaration.exists())


class Record:
    """The keys with which the modules of a profile were built, kept in a file next to them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, list[str]] = {}
        if path.exists():
            self._entries = json.loads(path.read_text(encoding="utf-8"))

    def is_fresh(self, module: Path, key: str) -> bool:
        """Return whether a module was built with a key and is unchanged."""
        entry = self._entries.get(os.path.relpath(module))
        return entry is not None and entry[0] == key and module.exists() and digest_of(module) == entry[1]

    def add(self, module: Path, key: str) -> None:
        """Note that a module has just been built with a key."""
        self._entries[os.path.relpath(module)] = [key, digest_of(module)]

    def save(self) -> None:
        """Write the file, by rename."""
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._entries, indent=0, sort_keys=True), encoding="utf-8")
        written.replace(self._path)


def _program_at(command: Sequence[str]) -> int:
    """Return the position of the compiler in its command: after ccache or another launcher."""
    return 1 if len(command) > 1 and not command[1].startswith("-") else 0


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"{command[0]} does not tell its version: {error}; set CC to a compiler, alone or behind ccache"
        ) from None
