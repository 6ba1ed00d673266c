"""Identities from TLS certificates of clients."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastrpc.auth.name_patterns import ANONYMOUS, NamePattern
from fastrpc.auth.verdict import Answer, Presented, Refusal, Verdict
from fastrpc.errors import ConfigError
from fastrpc.rpc.identity import Identity
from fastrpc.tls.certificate import is_of_pass

__all__ = ["ClientCertificates"]

_KINDS: Final = ("uri", "dns", "subject")

#: The short names of RFC 4514.
_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


class ClientCertificates:
    """Identities from the verified TLS certificates of clients. A client needs no token.

    The certificate of a LAN pass gives no identity: clients with a pass are anonymous.

    ::

        ClientCertificates(by="uri", allow=["spiffe://corp/billing", "spiffe://corp/web/*"])

    Args:
        by: the field with the name: "uri" and "dns" are fields of `subjectAltName`, "subject" is the whole subject as
            RFC 4514 writes it, such as `CN=billing,O=Corp`.
        allow: the accepted names. `*` accepts every name; a `*` at the end, after `/`, `:` or `.`, accepts every name
            with that prefix.

    Raises:
        ConfigError: `by` has another value, or `allow` is empty or has a pattern of roles or `anonymous`.
    """

    version = 0

    def __init__(self, *, by: str, allow: Sequence[str]) -> None:
        if by not in _KINDS:
            raise ConfigError(f"by is {by!r}, it must be one of {', '.join(map(repr, _KINDS))}")
        if isinstance(allow, str) or not isinstance(allow, Iterable):
            raise TypeError(f"allow is {allow!r}, it must be a list of names")
        #: The field with the names: "uri", "dns" or "subject".
        self.by = by
        patterns = [one.lower() if by == "dns" and isinstance(one, str) else one for one in allow]
        self.patterns = tuple(NamePattern(one) for one in patterns)
        if not self.patterns:
            raise ConfigError("allow has no name: every certificate would be refused", hint="list the names")
        for pattern in self.patterns:
            if pattern.text == ANONYMOUS or pattern.text.startswith("role:"):
                raise ConfigError(
                    f"allow has {pattern.text!r}, which cannot be the name in a certificate",
                    hint="list names of certificates, such as spiffe://corp/*",
                )

    def look(self) -> None:
        """Do nothing: the files of authorities belong to the server's TLS."""

    def handles(self, peer: Presented) -> bool:
        """Return whether the peer has a certificate, other than a pass, and presents no token."""
        return peer.credentials is None and peer.certificate is not None and not is_of_pass(peer.certificate)

    def verify(self, peer: Presented) -> Answer:
        """Return the identity in the peer's certificate, or a refusal."""
        if not self.handles(peer):
            return Refusal("it presents no certificate, or a token as well")
        assert peer.certificate is not None
        allowed = {
            name
            for name in _names(peer.certificate, self.by)
            if any(pattern.matches_text(name) for pattern in self.patterns)
        }
        if len(allowed) != 1:
            found = "none" if not allowed else f"{len(allowed)}"
            return Refusal(f"its certificate has {found} of the allowed names ({self.by})")
        try:
            identity = Identity(allowed.pop())
        except ConfigError as error:
            return Refusal(f"its certificate gives no identity: {error.message}")
        expires = peer.certificate.get("expires")
        return Verdict(identity, float(expires) if isinstance(expires, int | float) else None)

    async def __call__(self, peer: Presented) -> Identity | None:
        """Return the identity in a peer's certificate; None if it is not allowed."""
        answer = self.verify(peer)
        return answer.identity if isinstance(answer, Verdict) else None

    def __repr__(self) -> str:
        return f"ClientCertificates(by={self.by!r}, allow={[one.text for one in self.patterns]!r})"


def _names(certificate: Mapping[str, Any], by: str) -> list[str]:
    if by == "subject":
        subject = _subject(certificate.get("subject", ()))
        return [subject] if subject else []
    kind = by.upper()
    names = [value for found, value in certificate.get("subjectAltName", ()) if found == kind]
    return [name.lower() for name in names] if by == "dns" else names


def _subject(parts: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Return a subject as RFC 4514 writes it: the last part first."""
    several = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in parts
    ]
    return ",".join(reversed(several))


def _escaped(value: str) -> str:
    text = "".join(f"\\{one}" if one in ',+"\\<>;=' else one for one in value)
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(value) > 1 else text
