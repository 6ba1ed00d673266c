"""Faults of the disk and a moved wall clock for one program, by a library that is preloaded into it."""

import mmap
import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

__all__ = ["DiskAndClock"]

_NUMBERS = struct.Struct("=qqqqq")


class DiskAndClock:
    """The disk and the wall clock of a program that is started with `environment`: a context manager.

    Args:
        folder: for the library and its switches.
    """

    def __init__(self, folder: Path) -> None:
        self._switches = folder / "faults"
        self._library = folder / "disk_and_clock.so"

    def __enter__(self) -> Self:
        source = Path(__file__).with_suffix(".c")
        command = ["cc", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(command, check=True)
        self._switches.write_bytes(bytes(_NUMBERS.size))
        with self._switches.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _NUMBERS.size)
        return self

    def __exit__(self, *error: object) -> None:
        self._map.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of the program, which has to be started anew."""
        libraries = [os.environ.get("LD_PRELOAD", ""), str(self._library)]
        return {"LD_PRELOAD": " ".join(libraries).strip(), "TEST_FAULTS": str(self._switches)}

    def set(
        self,
        *,
        write_error: int = 0,
        sync_error: int = 0,
        is_small: bool = False,
        clock_seconds: int = 0,
        sync_seconds: int = 0,
    ) -> None:
        """Set the faults that the program sees from now on, or none.

        Args:
            write_error: an errno, with which every write to a place of a file fails.
            sync_error: an errno, with which every sync of a file `*.db` fails.
            is_small: whether no free space is left.
            clock_seconds: added to the wall clock.
            sync_seconds: how long each sync takes, at least.
        """
        self._map[:] = _NUMBERS.pack(write_error, sync_error, is_small, clock_seconds, sync_seconds)
