"""A host folder for the servers and clients of a test."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc.registries.host.folder import FOLDER_VARIABLE

__all__ = ["host_folder", "names_in"]


@contextlib.contextmanager
def host_folder() -> Iterator[Path]:
    """Name a folder that is not there yet in the environment; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fr") as parent, pytest.MonkeyPatch.context() as patched:
        path = Path(parent, "host")
        patched.setenv(FOLDER_VARIABLE, str(path))
        yield path


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; an empty list if it is missing."""
    return sorted(os.listdir(folder)) if folder.exists() else []
