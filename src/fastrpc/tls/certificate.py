"""The certificate of the other side of a TLS connection, as plain data."""

import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

__all__ = [
    "LAN_SUBJECT",
    "Period",
    "alternative_names",
    "certificate_of",
    "is_nameless",
    "is_of_pass",
    "period_of",
]

#: The begin of the common name in the certificate of a LAN pass.
LAN_SUBJECT: Final = "fastrpc LAN pass"

_PEM: Final = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Tags of DER (X.690, section 8): UTCTime, and [0], which holds the version.
_UTC_TIME: Final = 0x17
_VERSION: Final = 0xA0


class Period(NamedTuple):
    """The life of a certificate, in seconds of `time.time()`."""

    begin: float
    end: float

    def holds(self, instant: float) -> bool:
        """Return whether the certificate is valid at an instant."""
        return self.begin <= instant <= self.end


def certificate_of(ssl_object: ssl.SSLObject) -> Mapping[str, Any] | None:
    """Return the verified certificate of the peer; None if it sent none.

    It has the fields of `ssl.SSLSocket.getpeercert()`, such as `subject` and `notAfter`, and besides:

    - `dns_names` and `uris`: tuples of the texts in `subjectAltName`;
    - `fingerprint`: SHA-256 of the certificate, in hexadecimal;
    - `expires`: the end of its life, in seconds of `time.time()`.
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
    # Imported here: it takes milliseconds, and few connections have certificates.
    import hashlib

    found["fingerprint"] = hashlib.sha256(raw).hexdigest()
    found["expires"] = ssl.cert_time_to_seconds(str(told["notAfter"]))
    return MappingProxyType(found)


def alternative_names(told: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Return the alternative names of one kind, "DNS" or "URI", in a certificate as `getpeercert()` returns it."""
    return tuple(value for found, value in told.get("subjectAltName", ()) if found == kind)


def is_of_pass(told: Mapping[str, Any]) -> bool:
    """Return whether a certificate, as `getpeercert()` returns it, is of a LAN pass: all its holders show the same."""
    return any(
        kind == "commonName" and value.startswith(f"{LAN_SUBJECT} ")
        for part in told.get("subject", ())
        for kind, value in part
    )


def is_nameless(opened: ssl.SSLObject | ssl.SSLSocket | None) -> bool:
    """Return whether the certificate that was refused in a handshake has no subjectAltName.

    `ssl` gives the certificate of a failed handshake by its compiled part alone; without that the answer is False.
    """
    chain_of = getattr(getattr(opened, "_sslobj", None), "get_unverified_chain", list)
    return any("subjectAltName" not in one.get_info() for one in (chain_of() or ())[:1])


def period_of(pem: bytes) -> Period | None:
    """Return the life of the first certificate in a PEM file; None where it cannot be read.

    `ssl` returns it only for the certificate of a peer.
    """
    found = _PEM.search(pem)
    if found is None:
        return None
    try:
        # TBSCertificate in Certificate: version, serial number, algorithm, issuer, validity (RFC 5280, section 4.1).
        _, certificate, _ = _element(ssl.PEM_cert_to_DER_cert(found[0].decode("ascii")))
        _, rest, _ = _element(certificate)
        for _ in range(4 if rest[0] == _VERSION else 3):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        kind, begin, rest = _element(validity)
        end_kind, end, _ = _element(rest)
        return Period(_instant(kind, begin), _instant(end_kind, end))
    except (ValueError, IndexError):
        return None


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element of DER, and the bytes behind it."""
    size, at = der[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(der[2:at])
    if at + size > len(der):
        raise ValueError("the element is cut off")
    return der[0], der[at : at + size], der[at + size :]


def _instant(kind: int, content: bytes) -> float:
    """Return a UTCTime, whose years are those from 1950 to 2049, or a GeneralizedTime."""
    text = content.decode("ascii")
    if kind == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
