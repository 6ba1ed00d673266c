"""The certificate of the other side of a TLS connection, as plain data."""

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["alternative_names", "certificate_of"]


def certificate_of(ssl_object: ssl.SSLObject) -> Mapping[str, Any] | None:
    """Return the verified certificate of the peer; None if it sent none.

    It has what `ssl.SSLSocket.getpeercert()` returns, as `subject` and `notAfter`, and besides:

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
    """Return the alternative names of one kind, "DNS" or "URI", in a certificate as `getpeercert()` tells it."""
    return tuple(value for found, value in told.get("subjectAltName", ()) if found == kind)
