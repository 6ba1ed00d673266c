"""SSL contexts from certificate files, made again when the files change."""

import logging
import os
import ssl
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NoReturn

from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.tls import ALPN
from fastrpc.tls.certificate import Period, period_of
from fastrpc.tls.resumption import TwinContext

__all__ = [
    "ContextSource",
    "client_context",
    "client_contexts",
    "server_context",
    "server_contexts",
]

#: Seconds between two checks of the files. A lower value costs more system calls; with a higher value old certificates
#: are used for longer.
LOOK_SECONDS = 1.0

# For TLS 1.2, only suites with forward secrecy and authenticated encryption. TLS 1.3 has no others.
_CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!aDSS"

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_BEGIN_CRL = b"-----BEGIN X509 CRL-----"
_BEGIN_LAN_KEY = b"-----BEGIN FASTRPC LAN KEY-----"

logger = logging.getLogger("fastrpc.audit")

_Fingerprint = tuple[tuple[int, ...] | None, ...]


class ContextSource:
    """The context of one TLS value, made again when its files change.

    A file counts as changed if its device, inode, size or time of modification differs. Links are followed, because
    Kubernetes replaces links. A change takes effect once two checks a second apart see the same files, or once the
    files were unchanged for a second. The previous context stays if the files cannot be used, or if the new certificate
    has expired or is not valid yet while the previous one is valid. Open connections keep their context.
    """

    def __init__(
        self,
        tls: TLS,
        make: Callable[[TLS], ssl.SSLContext],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._tls = tls
        self._make = make
        self._seen = self._taken = _fingerprint(tls)
        # The files that could not be used, and were logged.
        self._warned: _Fingerprint | None = None
        self._context = make(tls)
        self._period = _period(tls)
        self._look_due = clock() + LOOK_SECONDS

    def current(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        now = self._clock()
        if now >= self._look_due:
            self._look_due = now + LOOK_SECONDS
            self._look()
        return self._context

    def reload(self) -> None:
        """Read the files again now, for every new connection."""
        self._seen = _fingerprint(self._tls)
        self._take()

    def check(self) -> None:
        """Check that the files can replace the previous ones, for contexts of other processes.

        Raises:
            ConfigError: a file cannot be used, or the certificate is outdated and the previous one is valid.
        """
        self._make(self._tls)
        self._period = self._checked_period()

    def _look(self) -> None:
        before, self._seen = self._seen, _fingerprint(self._tls)
        if self._seen != self._taken and (
            self._seen == before or _rest_since(self._tls, self._wall_clock() - LOOK_SECONDS)
        ):
            self._take()

    def _take(self) -> None:
        try:
            context = self._make(self._tls)
            period = self._checked_period()
        except ConfigError as error:
            # The files are tried again at each check: a file that becomes readable, or valid, does not count as
            # changed.
            if self._warned != self._seen:
                self._warned = self._seen
                logger.warning("the changed certificate files cannot be used, the old ones stay: %s", error)
            return
        if _fingerprint(self._tls) == self._seen:
            self._taken = self._seen
            self._context, self._period = context, period
            # The log names the settings, not the paths, which may reveal too much.
            logger.info("certificate files were read again: %s", ", ".join(_files(self._tls)))

    def _checked_period(self) -> Period | None:
        """Return the validity of the certificate in the files; an invalid certificate never replaces a valid one."""
        now = self._wall_clock()
        period = _period(self._tls)
        if (
            period is not None
            and not period.holds(now)
            and self._period is not None
            and self._period.holds(now)
        ):
            assert self._tls.cert_file is not None
            reason = "it has expired" if period.end < now else "it is not valid yet"
            _refuse("cert_file", self._tls.cert_file, reason, "replace it by a valid one")
        return period


def server_contexts(tls: TLS, offered: tuple[str, ...] = (ALPN,)) -> ContextSource:
    """Return the contexts of a server.

    Args:
        offered: the names that the server offers by ALPN.

    Raises:
        ConfigError: a file cannot be used.
    """
    return ContextSource(tls, partial(server_context, offered=offered))


@lru_cache(maxsize=64)
def client_contexts(tls: TLS, protocol: str | None = ALPN) -> ContextSource:
    """Return the contexts of clients; equal settings share them, as the system's authorities take long to read.

    Args:
        protocol: as for `client_context`.

    Raises:
        ConfigError: a file cannot be used.
    """
    return ContextSource(tls, partial(client_context, protocol=protocol))


def server_context(tls: TLS, offered: tuple[str, ...] = (ALPN,)) -> ssl.SSLContext:
    """Return a context for accepted connections; with `ca_file` it is a `TwinContext`.

    Raises:
        ConfigError: there is no certificate, or a file cannot be used.
    """
    if tls.ca_file is None:
        return _accepting(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls, offered)
    context = TwinContext(ssl.PROTOCOL_TLS_SERVER)
    _accepting(context, tls, offered)
    # The second context is made now, as the files may have changed by the time of the first session.
    context.pair_with(_accepting(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls, offered))
    return context


def _accepting(context: ssl.SSLContext, tls: TLS, offered: tuple[str, ...]) -> ssl.SSLContext:
    if tls.cert_file is None:
        raise ConfigError(
            "TLS.cert_file is None, a server needs a certificate", hint="set cert_file and key_file"
        )
    _strict(context, tls, *offered)
    if not tls.require_client_cert:
        content = _check_pem("cert_file", tls.cert_file, _BEGIN_CERTIFICATE, "certificate")
        if _BEGIN_LAN_KEY in content:
            hint = "set ca_file to it as well, and require_client_cert (--tls-ca does both)"
            _refuse("cert_file", tls.cert_file, "it is a LAN pass, and callers would not need one", hint)
    # A ticket would still be valid after a reload removed the authority of the client's certificate.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED if tls.require_client_cert else ssl.CERT_OPTIONAL
    return context


def client_context(tls: TLS, protocol: str | None = ALPN) -> ssl.SSLContext:
    """Return a context for connections that are dialled.

    Args:
        protocol: the name in ALPN; None for no name.

    Raises:
        ConfigError: a file cannot be used.
    """
    names = () if protocol is None else (protocol,)
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls, *names)
    context.check_hostname = not tls.server_identities
    context.verify_mode = ssl.CERT_REQUIRED
    # A name in the subject is not a host name (RFC 9525).
    setattr(context, "hostname_checks_common_name", False)  # noqa: B010 (the word is not of our glossary)
    if tls.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _strict(context: ssl.SSLContext, tls: TLS, *protocols: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # CPython 3.11.2 sets this option, with which a stream that was cut would look as if its peer had ended it.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.set_ciphers(_CIPHERS)
    if protocols:
        context.set_alpn_protocols(protocols)
    if tls.cert_file is not None:
        _load_chain(context, tls)
    if tls.ca_file is not None:
        _check_pem("ca_file", tls.ca_file, _BEGIN_CERTIFICATE, "certificate")
        _load_verified(context, "ca_file", tls.ca_file)
    if tls.crl_file is not None:
        # `ssl` would trust a certificate that it finds here.
        if _BEGIN_CERTIFICATE in _check_pem("crl_file", tls.crl_file, _BEGIN_CRL, "revocation list"):
            _refuse("crl_file", tls.crl_file, "it holds a certificate", "put authorities into ca_file")
        _load_verified(context, "crl_file", tls.crl_file)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def _load_chain(context: ssl.SSLContext, tls: TLS) -> None:
    assert tls.cert_file is not None
    _check_pem("cert_file", tls.cert_file, _BEGIN_CERTIFICATE, "certificate")
    key_name, key_file = ("cert_file", tls.cert_file) if tls.key_file is None else ("key_file", tls.key_file)
    _check_pem(key_name, key_file, b"PRIVATE KEY-----", "private key")

    def password() -> str:
        # Without this function OpenSSL would ask for the password at the terminal.
        if tls.key_password is None:
            _refuse(key_name, key_file, "its key is encrypted", "set key_password")
        return tls.key_password

    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            _refuse(
                key_name,
                key_file,
                f"it is not the key of {os.fspath(tls.cert_file)!r}",
                "replace both together",
            )
        if tls.key_password is not None and (error.reason is None or "DECRYPT" in error.reason):
            _refuse(key_name, key_file, "key_password does not open it", None)
        _refuse("cert_file", tls.cert_file, _words(error), None)
    except (OSError, ValueError) as error:
        _refuse("cert_file", tls.cert_file, _words(error), None)


def _period(tls: TLS) -> Period | None:
    """Return the validity of the presented certificate; None if it is missing or unreadable."""
    if tls.cert_file is None:
        return None
    return period_of(_check_pem("cert_file", tls.cert_file, _BEGIN_CERTIFICATE, "certificate"))


def _load_verified(context: ssl.SSLContext, name: str, path: str | os.PathLike[str]) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        _refuse(name, path, _words(error), None)


def _check_pem(name: str, path: str | os.PathLike[str], begin: bytes, kind: str) -> bytes:
    """Return the content of a PEM file, which has to hold an object of one kind."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        _refuse(name, path, _words(error), None)
    if begin not in content:
        _refuse(name, path, f"it holds no {kind} in PEM", None)
    if _BEGIN_LAN_KEY in content:
        # Imported here: few servers and clients have a pass.
        from fastrpc.tls.pass_file import open_pass

        open_pass(path)
    return content


def _refuse(name: str, path: str | os.PathLike[str], reason: str, hint: str | None) -> NoReturn:
    raise ConfigError(f"TLS.{name} is {os.fspath(path)!r}: {reason}", hint=hint)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _files(tls: TLS) -> dict[str, str]:
    """Return the paths by the names of their settings."""
    names = ("cert_file", "key_file", "ca_file", "crl_file")
    return {name: os.fspath(path) for name in names if (path := getattr(tls, name)) is not None}


def _fingerprint(tls: TLS) -> _Fingerprint:
    """Return values that differ once the files changed; None means a missing file."""
    found: list[tuple[int, ...] | None] = []
    for path in _files(tls).values():
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _rest_since(tls: TLS, instant: float) -> bool:
    """Return whether no file changed after an instant; if so, changed files are used without a second check."""
    for path in _files(tls).values():
        try:
            if os.stat(path).st_ctime > instant:
                return False
        except (OSError, ValueError):
            return False
    return True
