"""The LAN pass: one file by which programs on a local network find each other, and encrypt their traffic.

A file has one pass or several: the first is presented, all are accepted. Each is four blocks of PEM:

    PRIVATE KEY      of the certificate
    FASTRPC LAN KEY  id (4 bytes) and key (32) of announcements, a digest of both (16), and of each other block (16)
    CERTIFICATE      for the name `lan`, as server and as client
    CERTIFICATE      of the authority that signed it; the key of the authority was deleted

So the same file can be `cert_file` and `ca_file` of TLS: OpenSSL reads the blocks that it knows. The digests come
before the certificates: without them OpenSSL would accept a file that is cut off.
"""

import base64
import errno
import hashlib
import logging
import os
import re
import stat
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.tls.certificate import Period, period_of
from fastrpc.watched_file import WatchedFile

__all__ = [
    "LAN_NAME",
    "MOST_BYTES",
    "Pass",
    "open_pass",
    "open_pass_file",
    "pass_client_tls",
    "pass_server_tls",
    "passes_in",
    "sealed_pass",
]

logger = logging.getLogger("fastrpc.audit")

#: The name in the certificate of every pass.
LAN_NAME: Final = "lan"

#: The longest file: about 30 passes.
MOST_BYTES: Final = 65_536

_SEAL: Final = "FASTRPC LAN KEY"
_LABELS: Final = ("PRIVATE KEY", _SEAL, "CERTIFICATE", "CERTIFICATE")
_PARTS: Final = ("key of announcements", "private key", "certificate", "certificate of the authority")
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z ]+)-----\s([A-Za-z0-9+/=\s]+)-----END \1-----")
_ID_BYTES: Final = 4
_HEAD_BYTES: Final = _ID_BYTES + 32
_DIGEST_BYTES: Final = 16
_SEAL_BYTES: Final = _HEAD_BYTES + _DIGEST_BYTES * len(_PARTS)

_COPY: Final = (
    "copy the whole file again from a machine where it works; `fastrpc lan pass FILE` makes a new one"
)


class Pass(NamedTuple):
    """One pass of a file."""

    id: str
    #: The key of announcements.
    lan_key: bytes
    #: The validity of the certificate.
    period: Period
    #: Its four blocks.
    text: str


def open_pass(path: str | os.PathLike[str]) -> WatchedFile[Mapping[bytes, bytes]]:
    """Check a file of passes, and return its keys of announcements by id, the signing one first.

    The file is read again when it changes.

    Raises:
        ConfigError: the file cannot be used; the text says why, and shows no secret.
    """
    opened: WatchedFile[Mapping[bytes, bytes]]
    try:
        opened = WatchedFile(path, "the LAN pass", _keys_in, logger=logger, opener=open_pass_file)
    except ConfigError as error:
        if error.hint is None:
            raise ConfigError(error.message, hint=_COPY) from None
        raise
    # Dates are checked only here, not at each change: while the clock is wrong, a good file would be rejected for ever.
    assert isinstance(opened.value, _Keys)
    _check_dates(opened.path, opened.value.presented)
    return opened


def pass_server_tls(path: str) -> TLS:
    """Return the settings of a server whose clients have to hold a pass of a file."""
    return TLS(cert_file=path, ca_file=path, require_client_cert=True)


def pass_client_tls(path: str) -> TLS:
    """Return the settings of a client that presents the first pass of a file, to servers with any pass of the file."""
    return TLS(cert_file=path, ca_file=path, server_name=LAN_NAME)


def open_pass_file(path: str, flags: int) -> int:
    """Open a file of passes that only its owner may use; this is the `opener` of `open`.

    Raises:
        ConfigError: others may use the file, or it is not a regular file.
        OSError: it cannot be opened.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            _refuse("it is a symbolic link", "give the path of the file itself")
        raise
    try:
        _check_status(os.fstat(descriptor))
    except ConfigError:
        os.close(descriptor)
        raise
    return descriptor


def passes_in(text: str) -> list[Pass]:
    """Return the passes in the text of a file, which may have expired.

    Raises:
        ConfigError: a pass is damaged, or occurs twice.
    """
    blocks = [*_BLOCK.finditer(text)]
    beside = [line for line in _BLOCK.sub("", text).splitlines() if line.strip() and not line.startswith("#")]
    if beside:
        is_cut = any("-----BEGIN" in line for line in beside)
        _refuse("it is cut off within a block" if is_cut else "it has text that belongs to no block", _COPY)
    if not blocks:
        _refuse("it is empty", "`fastrpc lan pass FILE` makes a pass, once this file is removed")
    for number, (block, label) in enumerate(zip(blocks, _LABELS * len(blocks), strict=False), 1):
        if block[1] != label:
            _refuse(f"its block {number} is a {block[1]} in place of a {label}", _COPY)
    if len(blocks) % len(_LABELS):
        _refuse(f"it ends after block {len(blocks)}, and a pass has {len(_LABELS)}", _COPY)
    found = [_opened(blocks[at : at + len(_LABELS)]) for at in range(0, len(blocks), len(_LABELS))]
    ids = [one.id for one in found]
    for one in ids:
        if ids.count(one) > 1:
            _refuse(f"the pass {one} occurs twice", "remove one of the two")
    return found


def sealed_pass(name: str, lan_key: bytes, blocks: Sequence[str]) -> str:
    """Return the text of a pass.

    Args:
        name: the id, 8 hexadecimal digits.
        blocks: private key, certificate and authority as PEM.
    """
    parts = [bytes.fromhex(name) + lan_key]
    for block in blocks:
        found = _BLOCK.fullmatch(block.strip())
        assert found is not None
        parts.append(_decoded(found))
    seal = b"".join([parts[0], *map(_digest, parts)])
    encoded = base64.b64encode(seal).decode()
    wrapped = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    own = f"-----BEGIN {_SEAL}-----\n{wrapped}\n-----END {_SEAL}-----"
    return "".join(f"{block.strip()}\n" for block in (blocks[0], own, *blocks[1:]))


class _Keys(dict[bytes, bytes]):
    """The keys of announcements by id, and the pass that is presented."""

    def __init__(self, passes: Sequence[Pass]) -> None:
        super().__init__((one.id.encode(), one.lan_key) for one in passes)
        self.presented = passes[0]


def _keys_in(text: str) -> _Keys:
    return _Keys(passes_in(text))


def _check_dates(path: str, presented: Pass) -> None:
    now, where = time.time(), f"the LAN pass {path!r}: its pass {presented.id}"
    if presented.period.end < now:
        _refuse(
            f"{where} has expired on {_day(presented.period.end)}",
            "make a new one by `fastrpc lan pass FILE`, and copy it to every machine",
        )
    if presented.period.begin > now:
        _refuse(
            f"{where} holds from {_day(presented.period.begin)}, and the clock here shows {_day(now)}",
            "set the clock of this machine",
        )


def _opened(blocks: Sequence[re.Match[str]]) -> Pass:
    """Return the pass of four blocks."""
    private_key, seal, *certificates = map(_decoded, blocks)
    if len(seal) != _SEAL_BYTES:
        _refuse(f"its {_SEAL} has {len(seal)} bytes, and it has to have {_SEAL_BYTES}", _COPY)
    head, digests = seal[:_HEAD_BYTES], seal[_HEAD_BYTES:]
    for number, (part, content) in enumerate(zip(_PARTS, (head, private_key, *certificates), strict=True)):
        if _digest(content) != digests[number * _DIGEST_BYTES :][:_DIGEST_BYTES]:
            _refuse(f"the {part} in it is damaged, or is not part of this pass", _COPY)
    name, key = head[:_ID_BYTES].hex(), head[_ID_BYTES:]
    period = period_of(blocks[2][0].encode())
    if period is None:
        _refuse(f"the certificate of the pass {name} cannot be read", _COPY)
    return Pass(name, key, period, "".join(f"{block[0]}\n" for block in blocks))


def _decoded(block: re.Match[str]) -> bytes:
    try:
        return base64.b64decode("".join(block[2].split()), validate=True)
    except ValueError:
        _refuse(f"its {block[1]} is not base64", _COPY)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_DIGEST_BYTES]


def _check_status(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        _refuse(f"it is {kind}", "give the path of a file that `fastrpc lan pass FILE` made")
    if status.st_uid not in (os.geteuid(), 0):
        _refuse(
            f"it belongs to the user {status.st_uid}, and this program runs as {os.geteuid()}",
            "give it to the user of this program by chown",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        _refuse(
            f"other users may use it: its rights are {mode:04o}",
            "set them to 0600 by chmod; if a stranger may have read it, make a new pass",
        )
    if status.st_size > MOST_BYTES:
        _refuse(f"it has {status.st_size:,} bytes, a LAN pass has at most {MOST_BYTES:,}", _COPY)


def _day(instant: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(instant))


def _refuse(reason: str, hint: str) -> NoReturn:
    raise ConfigError(reason, hint=hint)
