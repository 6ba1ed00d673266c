"""The location of a service: `Address` (a parsed `scheme://…`) and `Endpoint` (an address with weight and labels)."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets

__all__ = [
    "GREATEST_WEIGHT",
    "Address",
    "Endpoint",
    "check_relay_host",
    "check_relay_name",
    "copied",
    "is_encrypted",
    "is_local",
    "names_scopes",
    "scopes_among",
    "relayed_host",
    "without_options",
]

_HIGHEST_PORT = 65_535

#: The highest weight that a registry holds, as in SRV records and Consul.
GREATEST_WEIGHT = 65_535
#: The name in errors of the part after the scheme, for schemes without a host.
_WITHOUT_HOST = {"unix": "path", "memory": "name", "fd": "name or number", "any": "options"}
#: `any://` needs nothing after it: it stands for an address in each scope.
_COMPLETE = frozenset({"any"})
#: The schemes of targets that speak gRPC, each with the scheme of its transport.
_BELOW_GRPC = {"grpc": "tcp", "grpcs": "tls"}
#: The schemes whose connections begin with TLS.
_ENCRYPTED = frozenset({"tls", "relay"})
#: The most characters of a name at a relay.
_LONGEST_LABEL = 63
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
#: Host names of machines may have an underscore. No authority signs a certificate for such a name.
_HOST_CHARACTERS = _LABEL_CHARACTERS | {"_"}
#: The most characters of the host name of a relay: with a label before it, the name has at most 253.
_LONGEST_HOST = 253 - 1 - _LONGEST_LABEL
_RELAY_FORM = "write relay://host:port/NAME"
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Address:
    """An address to dial or listen at, such as `tcp://10.0.0.1:8972`, `unix:///run/a.sock` or `memory://name`.

    `host` and `port` are set for schemes with a host. `path` holds the rest: the file path of `unix`, the name of
    `memory`, the options of `any`, and for `fd` the name or number of a socket that was passed on. As addresses, `any`
    and `fd` are only for servers to listen at. `str(address)` is a target for a client, with the scheme that was
    written. Addresses are equal if they have the same place and transport.

    Args:
        written: the scheme that `str(address)` shows; "": `scheme`.
    """

    __slots__ = ("_written", "host", "path", "port", "scheme")

    scheme: str
    host: str
    port: int
    path: str
    # The scheme that `str(address)` shows.
    _written: str

    def __init__(
        self, scheme: str, *, host: str = "", port: int = 0, path: str = "", written: str = ""
    ) -> None:
        self.scheme = scheme
        self._written = written or scheme
        self.host = host
        self.port = port
        self.path = path

    @classmethod
    def parse(cls, text: "str | Address") -> "Address":
        """Read an address from its text.

        Raises:
            ConfigError: the text is not an address; the message shows the form.
        """
        if isinstance(text, Address):
            return text
        if not isinstance(text, str):
            raise ConfigError(
                f"{text!r} is not an address", hint="give it as text, such as 'tcp://host:port'"
            )
        # The address as error messages show it.
        shown = repr(without_secrets(text))
        scheme, separator, rest = text.partition("://")
        if not separator or not scheme.isascii() or not scheme:
            raise ConfigError(
                f"{shown} is not an address",
                hint="write it as tcp://host:port, tls://host:port, unix:///path or memory://name",
            )
        scheme = scheme.lower()
        if scheme in _WITHOUT_HOST:
            if not rest and scheme not in _COMPLETE:
                raise ConfigError(f"{shown} has no {_WITHOUT_HOST[scheme]} after {scheme}://")
            return cls(scheme, path=rest)
        place, slash, path = rest.partition("/")
        host, colon, port = place.rpartition(":")
        if not colon or "]" in port:
            raise ConfigError(f"{shown} names no port", hint=f"write it as {scheme}://host:port")
        if not (port.isascii() and port.isdecimal() and int(port) <= _HIGHEST_PORT):
            raise ConfigError(
                f"{shown} has port {without_secrets(port)!r}",
                hint=f"the port is a number from 0 to {_HIGHEST_PORT}",
            )
        if "@" in host:
            raise ConfigError(f"{shown} has a user before its host", hint=f"write it as {scheme}://host:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ConfigError(f"{shown} has colons in its host", hint=f"write IPv6 as {scheme}://[::1]:port")
        # Names of interfaces, as in fe80::1%Lan0, differ by their case.
        name, mark, interface = host.partition("%")
        return cls(scheme, host=name.lower() + mark + interface, port=int(port), path=slash + path)

    def __str__(self) -> str:
        return self._text(self._written)

    @property
    def place(self) -> str:
        """The address as text with the transport's scheme: the same for equal addresses, however they were written."""
        return self._text(self.scheme)

    def _text(self, scheme: str) -> str:
        if self.host or self.port:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return f"{scheme}://{host}:{self.port}{self.path}"
        return f"{scheme}://{self.path}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.scheme, self.host, self.port, self.path) == (
            other.scheme,
            other.host,
            other.port,
            other.path,
        )

    def __hash__(self) -> int:
        return hash((self.scheme, self.host, self.port, self.path))

    def dialed(self) -> "Address":
        """Return the address that a client dials: `tcp` for `grpc://`, `tls` for `grpcs://`. Its text stays."""
        scheme = _BELOW_GRPC.get(self.scheme)
        if scheme is None:
            return self
        return Address(scheme, host=self.host, port=self.port, path=self.path, written=self.scheme)


class Endpoint:
    """An address that serves a service, with the properties that selectors use.

    Args:
        weight: its share of the calls, relative to other endpoints; 0: no calls.
        labels: texts that selectors filter by.
        zone: where it runs; "" is unknown.
        version: of the service there; "" is unknown.
        protocols: names of the protocols that it speaks; empty is unknown.

    Raises:
        ConfigError: an argument has the wrong type or range.
    """

    __slots__ = ("address", "labels", "protocols", "version", "weight", "zone")

    address: Address
    weight: int
    labels: Mapping[str, str]
    zone: str
    version: str
    protocols: tuple[str, ...]

    def __init__(
        self,
        address: Address | str,
        *,
        weight: int = 1,
        labels: Mapping[str, str] | None = None,
        zone: str = "",
        version: str = "",
        protocols: Sequence[str] = (),
    ) -> None:
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
            raise ConfigError(f"weight is {weight!r}, it must be a whole number from 0")
        self.address = Address.parse(address)
        self.weight = weight
        self.labels = _NO_LABELS if not labels else MappingProxyType(_checked_labels(labels))
        self.zone = _checked_text("zone", zone)
        self.version = _checked_text("version", version)
        self.protocols = _checked_names("protocols", protocols)

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        parts = [repr(str(self.address)), f"weight={self.weight}", f"labels={dict(self.labels)!r}"]
        for name in ("zone", "version", "protocols"):
            value = getattr(self, name)
            if value:
                parts.append(f"{name}={value!r}")
        return f"Endpoint({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and all(
            getattr(self, name) == getattr(other, name) for name in Endpoint.__slots__
        )

    def __hash__(self) -> int:
        return hash(self.address)

    def __reduce__(self) -> tuple[Any, ...]:
        # A view of labels cannot be pickled.
        values = {name: getattr(self, name) for name in Endpoint.__slots__}
        return _endpoint, ({**values, "labels": dict(self.labels)},)


def _endpoint(values: dict[str, Any]) -> Endpoint:
    return Endpoint(**values)


def copied(endpoint: Endpoint, **changes: Any) -> Endpoint:
    """Return an endpoint with other properties."""
    return _endpoint({name: getattr(endpoint, name) for name in Endpoint.__slots__} | changes)


def _checked_text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}, it must be text")
    return value


def _checked_labels(labels: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(labels, Mapping):
        raise ConfigError(f"labels is {labels!r}, it must be a mapping of texts")
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"the label {name!r} is {value!r}, both must be text")
    return dict(labels)


def _checked_names(name: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(each, str) for each in names):
        raise ConfigError(f"{name} is {names!r}, it must be a list of texts")
    return tuple(names)


def names_scopes(address: Address) -> bool:
    """Return whether a listening address stands for one address in each scope."""
    return address.scheme == "any"


def scopes_among(addresses: Iterable[Address]) -> Address | None:
    """Return the address of all scopes among a server's addresses, or None.

    Raises:
        ConfigError: two of them have different options.
    """
    found = list(dict.fromkeys(filter(names_scopes, addresses)))
    if len(found) > 1:
        raise ConfigError(
            f"a server listens at {found[0]} and at {found[1]}",
            hint="write one address any://, with all of its scopes: any://?scopes=process,host",
        )
    return found[0] if found else None


def is_encrypted(address: Address) -> bool:
    """Return whether connections to an address begin with TLS."""
    return address.scheme in _ENCRYPTED


def relayed_host(address: Address) -> str:
    """Return the host name by which callers reach the server at `relay://host:port/NAME`: `NAME.host`.

    Options after `?` are left out: they are only for the server.

    Raises:
        ConfigError: the address names no server behind a relay.
    """
    name = address.path.removeprefix("/").partition("?")[0]
    if not name or not address.port:
        raise ConfigError(f"{without_options(address)} names no server behind a relay", hint=_RELAY_FORM)
    check_relay_name(name)
    check_relay_host(address.host)
    return f"{name}.{address.host}"


def check_relay_name(name: str) -> None:
    """Refuse a name that is not a label of a host name.

    Raises:
        ConfigError: the name has another form.
    """
    if _is_label(name, _LABEL_CHARACTERS):
        return
    hint = f"write 1 to {_LONGEST_LABEL} of a-z, 0-9 and -, such as edge-7"
    wanted = _ascii_form(name).replace("_", "-")
    if wanted != name and _is_label(wanted, _LABEL_CHARACTERS):
        hint += f"; here {wanted}"
    raise ConfigError(f"{name[: 2 * _LONGEST_LABEL]!r} is not a name for a relay", hint=hint)


def without_options(address: Address) -> Address:
    """Return an address without its options, which may contain a secret that belongs into a file."""
    path, _, _ = address.path.partition("?")
    return Address(address.scheme, host=address.host, port=address.port, path=path)


def check_relay_host(host: str) -> None:
    """Refuse a host name, given in lower case, if a relay cannot have names below it.

    Raises:
        ConfigError: the host is an IP address, has another form, or is too long.
    """
    if ":" in host or host.rpartition(".")[2].isdecimal():
        raise ConfigError(
            f"{host} is an IP address of a relay: callers find a server by the relay's host name",
            hint=_RELAY_FORM,
        )
    has_labels = all(_is_label(label, _HOST_CHARACTERS) for label in host.split("."))
    if has_labels and len(host) <= _LONGEST_HOST:
        return
    hint = f"its labels have 1 to {_LONGEST_LABEL} of a-z, 0-9 and -, the whole name at most {_LONGEST_HOST} characters"
    wanted = _ascii_form(host)
    if wanted != host and all(_is_label(label, _HOST_CHARACTERS) for label in wanted.split(".")):
        hint = f"write it as {wanted}"
    raise ConfigError(f"{host[: 2 * _LONGEST_LABEL]!r} is not a host name of a relay", hint=hint)


def _is_label(text: str, characters: frozenset[str]) -> bool:
    is_short = 0 < len(text) <= _LONGEST_LABEL
    return is_short and characters.issuperset(text) and not text.startswith("-") and not text.endswith("-")


def _ascii_form(name: str) -> str:
    """Return a name in lower case in its DNS form; "" if it has none."""
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""


def is_local(address: Address) -> bool:
    """Return whether only programs on this machine can connect to an address."""
    if address.scheme == "relay":
        return False
    if address.scheme in {"unix", "memory"} or address.host == "localhost":
        return True
    # Imported here, because the import takes a millisecond and only servers on numeric addresses need it.
    import ipaddress

    try:
        return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback
    except ValueError:
        return False
