"""Who is on the other side of a connection, and who they proved to be."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastrpc.endpoint import Address

__all__ = ["Identity", "Peer"]


class Peer:
    """The other side of a connection: what it says of itself and what the transport knows.

    A server's `authenticate` is asked with one; `current_call().peer` is another.
    """

    __slots__ = ("address", "certificate", "credentials", "scheme")

    #: Where it is; an address of its transport's scheme, such as `tcp://10.0.0.7:51814`.
    address: Address
    #: How it proves who it is: "token" for `credentials=` of a client; "" when it sent no proof.
    scheme: str
    #: The proof, a token for one; None when it sent none.
    credentials: str | None
    #: Its TLS certificate, as `ssl.SSLSocket.getpeercert()` returns it; None without one.
    certificate: Mapping[str, Any] | None

    def __init__(
        self,
        address: Address,
        scheme: str = "",
        credentials: str | None = None,
        *,
        certificate: Mapping[str, Any] | None = None,
    ) -> None:
        self.address = address
        self.scheme = scheme
        self.credentials = credentials
        self.certificate = certificate

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        # A log must not hold what others could prove themselves with.
        shown = "" if self.credentials is None else ", credentials=…"
        return f"Peer({str(self.address)!r}, scheme={self.scheme!r}{shown})"


class Identity:
    """Who a caller proved to be: a name, and whatever else `authenticate` found out.

    ::

        caller = fastrpc.Identity("ada", tenant="acme", roles={"admin"})
        caller.name, caller.tenant, caller.attributes["roles"]

    It cannot be changed. Two are equal when name and attributes are.
    """

    __slots__ = ("_attributes", "_name")

    _name: str
    _attributes: Mapping[str, Any]

    def __init__(self, name: str, /, **attributes: Any) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_attributes", MappingProxyType(attributes))

    @property
    def name(self) -> str:
        """Whose calls these are, in logs and limits too."""
        return self._name

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What else is known, each also an attribute of its own."""
        return self._attributes

    def __getattr__(self, attribute: str) -> Any:
        # Only asked for what nothing else provides.
        if attribute not in Identity.__slots__ and attribute in self._attributes:
            return self._attributes[attribute]
        raise AttributeError(f"this identity has no {attribute!r}", name=attribute, obj=self)

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(
            f"an Identity cannot be changed, {attribute!r} was set", name=attribute, obj=self
        )

    def __delattr__(self, attribute: str) -> None:
        raise AttributeError(
            f"an Identity cannot be changed, {attribute!r} was deleted", name=attribute, obj=self
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.name == other.name and self.attributes == other.attributes

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _identity, (self.name, dict(self.attributes))

    def __repr__(self) -> str:
        return "".join(
            (
                f"Identity({self.name!r}",
                *(f", {key}={self.attributes[key]!r}" for key in self.attributes),
                ")",
            )
        )


def _identity(name: str, attributes: dict[str, Any]) -> Identity:
    return Identity(name, **attributes)
