"""Compile a .proto file: protoc parses it, and its imports, to descriptors."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.gateway.grpc_servers.reflection import check_protobuf

__all__ = ["compiled"]

#: Seconds after which protoc is ended.
_LONGEST: Final = 60


def compiled(source: Path, folders: Sequence[Path]) -> list[Any]:
    """Return the descriptors of a .proto file and of its imports; the file itself comes last.

    Args:
        source: the file.
        folders: the folders in which imports are found; if empty, the folder of the file.

    Raises:
        ConfigError: the file has a mistake, a file is missing, or protoc is not installed.
    """
    check_protobuf(f"{source} has messages, which")
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    if not source.is_file():
        raise ConfigError(f"{source}: there is no such file")
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"-I {folder}: there is no such folder")
    with tempfile.TemporaryDirectory() as place:
        made = Path(place, "descriptors")
        # protoc compares the paths of files and folders as texts, so all are absolute.
        places = (os.path.abspath(folder) for folder in _folders(source, folders))
        command = [*_protoc(), *(f"-I{place}" for place in places)]
        command += [
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={made}",
            os.path.abspath(source),
        ]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{source} cannot be compiled: {error}") from None
        if run.returncode:
            raise _mistake(source, run.stderr)
        return list(FileDescriptorSet.FromString(made.read_bytes()).file)


def _protoc() -> list[str]:
    if importlib.util.find_spec("grpc_tools") is not None:
        return [sys.executable, "-m", "grpc_tools.protoc"]
    found = shutil.which("protoc")
    if found is None:
        raise ConfigError(
            "a .proto file is read by protoc, which is not installed", hint="pip install grpcio-tools"
        )
    return [found]


def _folders(source: Path, folders: Sequence[Path]) -> list[Path]:
    found = list(folders)
    if not any(source.resolve().is_relative_to(folder.resolve()) for folder in found):
        found.append(source.parent)
    # The package googleapis-common-protos contains google/api, google/rpc and google/type next to its modules.
    theirs = importlib.util.find_spec("google.api") if importlib.util.find_spec("google") else None
    if theirs is not None and theirs.submodule_search_locations:
        found.append(Path(next(iter(theirs.submodule_search_locations))).parents[1])
    return found


def _mistake(source: Path, told: str) -> ConfigError:
    """Return the error for protoc's output, whose lines have the file, line and column of a mistake."""
    lines = [line for line in told.splitlines() if line.strip() and "warning:" not in line]
    missing = [line.partition(":")[0] for line in lines if line.endswith("File not found.")]
    if missing:
        importing = next((line for line in lines if f'Import "{missing[0]}"' in line), str(source))
        place = importing.partition(": Import ")[0]
        hint = "give the folder in which imports begin: -I FOLDER"
        if missing[0].startswith(("google/api/", "google/rpc/", "google/type/")):
            hint = (
                "pip install googleapis-common-protos, or give the folder in which imports begin: -I FOLDER"
            )
        return ConfigError(f"{place}: {missing[0]} is not found", hint=hint)
    return ConfigError("; ".join(lines) or f"protoc cannot compile {source}")
