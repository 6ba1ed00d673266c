"""The certificate of the other side of a TLS connection, as plain data."""

import os
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fastrpc.config import TLS
from fastrpc.errors import ConfigError

__all__ = [
    "LAN_SUBJECT",
    "Period",
    "alternative_names",
    "certificate_of",
    "check_covers",
    "dns_names_of",
    "is_nameless",
    "is_of_pass",
    "period_of",
]

#: The beginning of the common name in the certificate of a LAN pass.
LAN_SUBJECT: Final = "fastrpc LAN pass"

_PEM: Final = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Tags of DER (X.690, section 8): UTCTime, and [0], which holds the version.
_UTC_TIME: Final = 0x17
_VERSION: Final = 0xA0
# RFC 5280, 4.1: the tag [3] of the extensions.
_EXTENSIONS: Final = 0xA3
# RFC 5280, 4.2.1.6: the id of subjectAltName in DER, and the tag of a host name.
_ALTERNATIVE_NAME: Final = b"\x55\x1d\x11"
_DNS_NAME: Final = 0x82


class Period(NamedTuple):
    """The validity of a certificate, in seconds of `time.time()`."""

    begin: float
    end: float

    def holds(self, instant: float) -> bool:
        """Return whether the certificate is valid at an instant."""
        return self.begin <= instant <= self.end


def certificate_of(ssl_object: ssl.SSLObject) -> Mapping[str, Any] | None:
    """Return the verified certificate of the peer; None if the peer sent no certificate.

    The certificate has the fields of `ssl.SSLSocket.getpeercert()`, such as `subject` and `notAfter`, and besides:

    - `dns_names` and `uris`: tuples of the texts in `subjectAltName`;
    - `fingerprint`: SHA-256 of the certificate, in hexadecimal;
    - `expires`: the end of its validity, in seconds of `time.time()`.
    """
    try:
        raw = ssl_object.getpeercert(True)
        told = ssl_object.getpeercert()
    except ValueError:
        # The handshake is not over.
        return None
    if raw is None or not told:
        return None
    found: dict[str, Any] = dict(told)
    found["dns_names"] = alternative_names(told, "DNS")
    found["uris"] = alternative_names(told, "URI")
    # Imported here: the import takes milliseconds, and few connections have certificates.
    import hashlib

    found["fingerprint"] = hashlib.sha256(raw).hexdigest()
    found["expires"] = ssl.cert_time_to_seconds(str(told["notAfter"]))
    return MappingProxyType(found)


def alternative_names(told: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Return the alternative names of one kind, "DNS" or "URI", in a certificate as `getpeercert()` returns it."""
    return tuple(value for found, value in told.get("subjectAltName", ()) if found == kind)


def is_of_pass(told: Mapping[str, Any]) -> bool:
    """Return whether a certificate, as `getpeercert()` returns it, belongs to a LAN pass, which all holders share."""
    return any(
        kind == "commonName" and value.startswith(f"{LAN_SUBJECT} ")
        for part in told.get("subject", ())
        for kind, value in part
    )


def is_nameless(opened: ssl.SSLObject | ssl.SSLSocket | None) -> bool:
    """Return whether the certificate that was refused in a handshake has no subjectAltName.

    `ssl` returns the certificate of a failed handshake only through its C module; without that module the result is
    False.
    """
    chain_of = getattr(getattr(opened, "_sslobj", None), "get_unverified_chain", list)
    return any("subjectAltName" not in one.get_info() for one in (chain_of() or ())[:1])


def period_of(pem: bytes) -> Period | None:
    """Return the validity of the first certificate in a PEM file; None if it cannot be read.

    Python's `ssl` returns the validity only for the certificate of a peer.
    """
    try:
        fields = _fields_of(pem)
        # The fields after the version, which may be omitted: serial number, algorithm, issuer, validity.
        (kind, begin), (end_kind, end) = _elements(fields[4 if fields[0][0] == _VERSION else 3][1])
        return Period(_instant(kind, begin), _instant(end_kind, end))
    except (ValueError, IndexError):
        return None


def dns_names_of(pem: bytes) -> tuple[str, ...] | None:
    """Return the host names in subjectAltName of the first certificate in a PEM file; None if it cannot be read."""
    found: list[str] = []
    try:
        for tag, content in _fields_of(pem):
            if tag != _EXTENSIONS:
                continue
            [(_, extensions)] = _elements(content)
            for _, extension in _elements(extensions):
                (_, kind), *_, (_, value) = _elements(extension)
                if kind == _ALTERNATIVE_NAME:
                    [(_, names)] = _elements(value)
                    found += [name.decode("ascii") for tag, name in _elements(names) if tag == _DNS_NAME]
    except (ValueError, IndexError):
        return None
    return tuple(found)


def check_covers(tls: TLS, host: str) -> None:
    """Refuse certificates of a server that are for other host names: every client would refuse them.

    Raises:
        ConfigError: the certificate does not have the name.
    """
    if tls.cert_file is None:
        return
    names = dns_names_of(Path(tls.cert_file).read_bytes())
    if names is None:
        return
    wide = f"*.{host.partition('.')[2]}"
    if not {host, wide} & {name.lower() for name in names}:
        raise ConfigError(
            f"the certificate {os.fspath(tls.cert_file)} is for {', '.join(names) or 'no host name'}, and callers ask "
            f"for {host}",
            hint=f"have one made with the name {host}, or {wide}, as subjectAltName",
        )


def _fields_of(pem: bytes) -> list[tuple[int, bytes]]:
    """Return the fields of TBSCertificate in the first Certificate (RFC 5280, 4.1); ValueError for other text."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("there is no certificate")
    [(_, certificate)] = _elements(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
    return _elements(_elements(certificate)[0][1])


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return the tag and the content of each element of DER."""
    found = []
    while der:
        tag, content, der = _element(der)
        found.append((tag, content))
    return found


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element of DER, and the bytes after it."""
    size, at = der[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(der[2:at])
    if at + size > len(der):
        raise ValueError("the element is cut off")
    return der[0], der[at : at + size], der[at + size :]


def _instant(kind: int, content: bytes) -> float:
    """Return the instant of a UTCTime, whose years are from 1950 to 2049, or of a GeneralizedTime."""
    text = content.decode("ascii")
    if kind == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
