"""The headers of CPython, read once by gcc for all modules with the same flags: a twentieth of a build."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setuptools import Extension

__all__ = ["PrecompiledHeaders"]

#: The headers that Cython includes in each module, in its order.
HEADER = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <pythread.h>
#include <structmember.h>
#include <compile.h>
#include <frameobject.h>
#include <traceback.h>
"""

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class PrecompiledHeaders:
    """The headers of a build, one for each set of flags.

    gcc reads the header itself if the precompiled one does not fit; an unusable one is deleted.

    Args:
        command: the command that compiles a file of C, with the flags of all modules.
        folder: where the headers go.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = list(command)
        self._folder = folder
        self._headers: dict[tuple[str, ...], Path] = {}
        self._making: list[tuple[subprocess.Popen[bytes], tuple[str, ...]]] = []

    def prepare(self, extensions: Sequence[Extension]) -> None:
        """Begin to make the header of each set of flags that several modules have."""
        flags = [self._flags_of(each) for each in extensions]
        for chosen in sorted({each for each in flags if flags.count(each) > 1}):
            header = self._folder / str(len(self._headers)) / "python.h"
            header.parent.mkdir(parents=True, exist_ok=True)
            header.write_text(HEADER)
            made = f"{header}.gch"
            Path(made).unlink(missing_ok=True)
            command = [*self._command, *chosen, "-x", "c-header", str(header), "-o", made]
            self._making.append((subprocess.Popen(command, **QUIET), chosen))
            self._headers[chosen] = header

    def wait(self) -> None:
        """Return once all headers are made and were used once: modules are compiled after this."""
        for making, chosen in self._making:
            header = str(self._headers[chosen])
            using = ["-include", header, "-x", "c", "-c", os.devnull, "-o", os.devnull]
            if making.wait() or subprocess.call([*self._command, *chosen, *using], **QUIET):
                Path(f"{header}.gch").unlink(missing_ok=True)
        self._making.clear()

    def arguments_for(self, extension: Extension) -> list[str]:
        """Return the arguments that make gcc begin a module with its header; an empty list if there is no header."""
        header = self._headers.get(self._flags_of(extension))
        return [] if header is None else ["-include", str(header)]

    def _flags_of(self, extension: Extension) -> tuple[str, ...]:
        macros = [f"-D{name}={value}" for name, value in extension.define_macros]
        return (*macros, *extension.extra_compile_args)
