"""Compiles the yardsticks in C: `c_echo.c` (with and without TLS), `c_sink.c` and `c_http.c`."""

import shutil
import subprocess
from pathlib import Path

from bench.compare.compiled import is_newer
from bench.compare.paths import BUILD, SOURCES
from bench.compare.peers.base import PeerUnavailableError

__all__ = ["build_yardstick", "yardstick_program"]

#: The common files of the yardsticks.
SHARED = (SOURCES / "yardstick.h", SOURCES / "channel.h")

#: Programs that are compiled from the source of another one, with these options of the compiler.
VARIANTS = {"c_echo_tls": ("c_echo", ("-DTLS",), ("-lssl", "-lcrypto"))}


def yardstick_program(name: str) -> Path:
    """Return the path of a compiled yardstick."""
    return BUILD / name


def build_yardstick(name: str) -> Path:
    """Compile a yardstick if its source is newer; return the program."""
    stem, options, libraries = VARIANTS.get(name, (name, (), ()))
    program, source = yardstick_program(name), SOURCES / f"{stem}.c"
    if is_newer(program, [source, *SHARED]):
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise PeerUnavailableError("no C compiler (cc, gcc, clang) found")
    program.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-Wextra", *options, "-o", str(program), str(source), *libraries]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if outcome.returncode:
        raise PeerUnavailableError(f"{source.name} does not compile: {outcome.stderr}")
    return program
