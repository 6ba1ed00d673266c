"""The key file: each line has an id and a key in base64. The first key signs announcements; all keys are accepted."""

import base64
import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from fastrpc.errors import ConfigError
from fastrpc.replaced_file import replaced_file
from fastrpc.watched_file import WatchedFile

__all__ = ["KEY_BYTES", "LanKeys", "add_key", "open_keys", "read_keys", "sign_with_last"]

logger = logging.getLogger("fastrpc.audit")

#: The least bytes of a key, which is the size of the hash.
KEY_BYTES = 32

#: Keys by id; the signing key is first.
LanKeys: TypeAlias = Mapping[bytes, bytes]

_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def read_keys(text: str, *, least: int = 1) -> dict[bytes, bytes]:
    """Return the keys of a file by id, in order; empty lines and comments are skipped.

    Raises:
        ConfigError: a line is not a key, an id is repeated, or there are fewer keys than `least`. The error does not
            show keys.
    """
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        key = _decoded(parts[1]) if len(parts) == 2 and _ID.fullmatch(parts[0]) else b""
        if len(key) < KEY_BYTES:
            raise ConfigError(
                f"line {number} is not an id and {KEY_BYTES} bytes or more in base64",
                hint="`fastrpc lan key FILE` writes such a line",
            )
        if parts[0].encode() in found:
            raise ConfigError(f"line {number} has the id {parts[0]} of another line")
        found[parts[0].encode()] = key
    if len(found) < least:
        raise ConfigError("there is no key", hint="`fastrpc lan key FILE` writes one")
    return found


def open_keys(path: str | os.PathLike[str]) -> WatchedFile[LanKeys]:
    """Return the keys of a file, which is read again after a change.

    Raises:
        ConfigError: the file cannot be used.
    """
    opened: WatchedFile[LanKeys] = WatchedFile(path, "the key file", read_keys, logger=logger)
    if os.stat(path).st_mode & stat.S_IROTH:
        logger.warning("the key file %s can be read by all: set its rights to 0600", os.fspath(path))
    return opened


def add_key(path: Path) -> str:
    """Append a new key to a file, which is created if it is missing; return its id.

    Raises:
        ConfigError: the file cannot be used.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    known = read_keys(text, least=0)
    name = secrets.token_hex(4)
    while name.encode() in known:
        name = secrets.token_hex(4)
    lines = [*text.splitlines(), f"{name} {base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"]
    _write(path, lines)
    return name


def sign_with_last(path: Path) -> str:
    """Move the last key of a file to the front, so that it signs; return its id.

    Raises:
        ConfigError: the file cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {str(path)!r} cannot be read: {error}") from None
    *_, name = read_keys(text)
    lines = text.splitlines()
    last = next(line for line in reversed(lines) if line.split()[:1] == [name.decode()])
    lines.remove(last)
    _write(path, [last, *lines])
    return name.decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _write(path: Path, lines: list[str]) -> None:
    """Replace a file; only its owner may read it."""
    with replaced_file(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
