"""Saves the last good lists in a file, which is read at a start while the registry is unreachable."""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.backend import Entry
from fastrpc.registries.base.record import RecordError, decode_record, encode_record
from fastrpc.replaced_file import replaced_file

__all__ = ["CacheFile"]

logger = logging.getLogger("fastrpc.registry")

_FORMAT = 1

# Guards the file: each service has a thread, which writes its list into the shared file.
_writing = threading.Lock()


def _forked() -> None:
    """Replace the lock in the child: a thread of the parent may hold it."""
    global _writing
    _writing = threading.Lock()


os.register_at_fork(after_in_child=_forked)


class _Lists(msgspec.Struct):
    """The file format: records as JSON texts. Records are checked like records from the network."""

    format: int = _FORMAT
    services: dict[str, list[msgspec.Raw]] = {}


class CacheFile:
    """A file shared by services and processes; if two processes write at the same time, one write is lost."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._is_failing = False

    def load(self, service: str) -> list[Entry]:
        """Return the saved list of a service; empty if no file can be read."""
        entries: list[Entry] = []
        for number, record in enumerate(self._read().services.get(service, ())):
            try:
                entries.append((f"{self._path}[{number}]", decode_record(bytes(record))))
            except RecordError as error:
                entries.append((f"{self._path}[{number}]", error))
        return entries

    def keep(self, service: str, endpoints: Sequence[Endpoint]) -> None:
        """Write the list of a service; log the first failure."""
        records = [msgspec.Raw(encode_record(endpoint)) for endpoint in endpoints]
        with _writing:
            lists = self._read()
            lists.services[service] = records
            try:
                with replaced_file(self._path) as file:
                    file.write(msgspec.json.encode(lists))
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    logger.warning("cannot keep the list of %s in %s: %s", service, self._path, error)
                self._is_failing = True

    def _read(self) -> _Lists:
        try:
            lists = msgspec.json.decode(self._path.read_bytes(), type=_Lists)
        except FileNotFoundError:
            return _Lists()
        except (OSError, msgspec.DecodeError, RecursionError) as error:
            logger.warning("cannot read %s, the file is ignored: %s", self._path, error)
            return _Lists()
        return lists if lists.format == _FORMAT else _Lists()
