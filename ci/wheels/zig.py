"""zig as a C compiler for other machines: targets, and one command for each module."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ci.compiling.profiles import CORE

__all__ = ["CHECKED", "Target", "compile_module"]

#: The oldest glibc that wheels run with: manylinux_2_28.
GLIBC = "2.28"


@dataclass(frozen=True)
class Target:
    """A machine that modules are compiled for, by zig's name, with the include folders of a CPython."""

    name: str
    includes: tuple[Path, ...]

    @classmethod
    def linux(cls, machine: str, includes: list[Path]) -> "Target":
        """Return the target of a wheel."""
        return cls(f"{machine}-linux-gnu.{GLIBC}", tuple(includes))


#: Further targets of `make cross-check`; nothing of them is shipped.
CHECKED = ("x86_64-macos", "aarch64-macos", "x86_64-linux-musl", "aarch64-linux-musl")


def compile_module(target: Target, source: Path, output: Path, arguments: list[str], *, link: bool) -> None:
    """Compile a C file, to a module or, without `link`, to an object."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        target.name,
        *arguments,
        "-fPIC",
        "-fwrapv",
        "-DNDEBUG",
    ]
    # zig checks for undefined behaviour by default, and warns of arguments that only gcc knows.
    command += ["-fno-sanitize=all", "-Wno-unused-function", "-Wno-unused-command-line-argument", f"-I{CORE}"]
    command += [f"-I{folder}" for folder in target.includes]
    command += ["-shared" if link else "-c", "-o", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{target.name}: {source}\n{done.stderr[-4000:]}")
