"""Open a registry by its URL, such as `consul://10.0.0.1:8500?dc=west&tag=blue`.

Every URL accepts these options. URLs of remote registries also accept `tls` (`true`) with `ca_file`, `cert_file`,
`key_file`, `server_name`:

`cache_file`
    a file for the last good lists, which are used if the registry is unreachable at the start
`schemes`, `networks`
    the addresses that may be dialled, separated by commas: `networks=10.0.0.0/8,fd00::/8`
"""

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeGuard, TypeVar, cast, overload
from urllib.parse import parse_qsl, urlsplit

from fastrpc.config import TLS
from fastrpc.errors import ConfigError
from fastrpc.escaping import without_secrets
from fastrpc.first_use import load, places, register
from fastrpc.registries.base.policy import AddressPolicy
from fastrpc.registries.base.registry import Registry, RegistryOption, WatchedRegistry

__all__ = [
    "UNDIALABLE",
    "RegistryURL",
    "SharedOptions",
    "is_opened",
    "known_schemes",
    "names_registry",
    "names_service",
    "one_of",
    "open_registry",
    "open_url",
    "split_target",
    "target_for",
    "truth",
    "whole_seconds",
]

#: Wildcard hosts: a server may listen there, but no client can dial them.
UNDIALABLE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104

ENTRY_POINT_GROUP = "fastrpc.registries"

#: `fastrpc/__init__.py` registers further registries, whose packages this package may not import.
register(
    "registries",
    {
        "static": "fastrpc.registries.static:open_static",
        "dns": "fastrpc.registries.dns:open_dns",
        "consul": "fastrpc.registries.consul:open_consul",
        "deimos": "fastrpc.registries.deimos:open_deimos",
        "etcd": "fastrpc.registries.etcd:open_etcd",
        "host": "fastrpc.registries.host:open_host",
        "kubernetes": "fastrpc.registries.kubernetes:open_kubernetes",
        "lan": "fastrpc.registries.lan:open_lan",
        "mdns": "fastrpc.registries.mdns:open_mdns",
        **dict.fromkeys(("redis", "rediss", "valkey"), "fastrpc.registries.redis:open_redis"),
        "nats": "fastrpc.registries.nats:open_nats",
        "zookeeper": "fastrpc.registries.zookeeper:open_zookeeper",
    },
)

#: Maps a scheme to the function that opens its URLs. The function is imported on first use.
_REGISTRIES = places("registries")

#: The registry for a list of registries.
_MERGED = "fastrpc.registries.merged:Merged"

#: The extra to install for a scheme, if its name is not the scheme.
_EXTRAS = {"rediss": "redis", "valkey": "redis"}

#: Schemes whose URLs have no host: in `lan://arith`, `arith` is the service.
_WITHOUT_PLACE = {"any", "host", "lan", "mdns"}

#: The URL options that are fields of `TLS`.
_TLS_OPTIONS = ("ca_file", "cert_file", "key_file", "server_name")

T = TypeVar("T")


class SharedOptions(TypedDict):
    """The options of every registry."""

    policy: AddressPolicy
    cache_file: str | None


class RegistryURL:
    """The parsed URL of a registry. `str` omits the options, which may contain secrets.

    `place` is the part between `//` and the next `/`. `path` is the rest, without slashes at either end.

    Args:
        tls: the certificates of the client or server that opens the registry. Options of the URL replace them.
        farthest: the registry of the farthest scope, for a URL with several scopes; None means the registry that the
            environment states.

    Raises:
        ConfigError: the text is not a URL.
    """

    def __init__(self, text: str, tls: TLS | None = None, *, farthest: RegistryOption | None = None) -> None:
        if not isinstance(text, str) or "://" not in text:
            raise ConfigError(
                f"{without_secrets(text) if isinstance(text, str) else text!r} is not the URL of a registry",
                hint="write it as consul://host:8500 or registry://host:port",
            )
        scheme, _, rest = text.partition("#")[0].partition("://")
        # `urlsplit` is not used, because some versions refuse a list of places that contains an IPv6 address.
        rest, _, options = rest.partition("?")
        self.place, _, path = rest.partition("/")
        self.scheme = scheme.lower()
        self.path = path.strip("/")
        self._tls = tls
        self.farthest = farthest
        self._options: dict[str, list[str]] = {}
        self._known: set[str] = set()
        for name, value in parse_qsl(options, keep_blank_values=True):
            self._options.setdefault(name, []).append(value)
        _check_user(self.scheme, self.place)

    def places(self, default_port: int | None) -> list[tuple[str, int]]:
        """Return host and port of each comma-separated place.

        Raises:
            ConfigError: no place is given, or a place cannot be parsed.
        """
        return [self._host_and_port(one, default_port) for one in self.place.split(",")]

    def _host_and_port(self, place: str, default_port: int | None) -> tuple[str, int]:
        try:
            parts = urlsplit(f"//{place}")
            host, port = parts.hostname, default_port if parts.port is None else parts.port
        except ValueError:
            host = port = None
        if not host or not port:
            raise ConfigError(
                f"{self}: {place!r} is not host and port", hint=f"write {self.scheme}://host:port"
            )
        return host, port

    def take(self, name: str, default: T, read: Callable[[str], T]) -> T:
        """Return an option, parsed by `read`. The option may be given only once."""
        values = self.take_all(name)
        if not values:
            return default
        if len(values) > 1:
            raise ConfigError(f"{self}: the option {name} is given {len(values)} times, it may be given once")
        try:
            return read(values[0])
        except ValueError as error:
            raise ConfigError(f"{self}: the option {name} is {values[0]!r}: {error}") from None

    def take_all(self, name: str) -> list[str]:
        """Return all values of an option that may repeat."""
        self._known.add(name)
        return self._options.pop(name, [])

    @property
    def tls(self) -> TLS | None:
        """The certificates of the client or server that opens the registry."""
        return self._tls

    def take_tls(self, scheme: str | None = None, *, ca_file: str | None = None) -> TLS | None:
        """Return the certificates for an encrypted connection to the registry; None for a URL without TLS.

        If no option names a certificate, the settings of the client or server that opens the registry apply.

        Args:
            scheme: the scheme of the registry's address, "http" or "https"; None means that the option `tls` decides.
            ca_file: the default of the option.

        Raises:
            ConfigError: an option is wrong, or has no effect without TLS.
        """
        is_encrypted = self.take("tls", False, truth) if scheme is None else scheme == "https"
        taken = {name: self.take(name, None, _file_name) for name in _TLS_OPTIONS}
        given: dict[str, Any] = {name: value for name, value in taken.items() if value is not None}
        if given and not is_encrypted:
            raise ConfigError(
                f"{self}: the option {next(iter(given))} has no effect without tls",
                hint="add tls=true" if scheme is None else "write https://",
            )
        if not is_encrypted:
            return None
        if ca_file is not None:
            given.setdefault("ca_file", ca_file)
        return TLS(**given) if given else self._tls or TLS()

    def package(self, module: str, name: str, *, part: str | None = None, reason: str = "") -> Any:
        """Import a module of the package that this kind of registry needs; return the module.

        Args:
            part: a submodule that only this package has, not other packages that also install `module`.
            reason: the difference between the packages, for the hint.

        Raises:
            ConfigError: the package is not installed, or another package has its module.
        """
        found, extra = None, f"'fastrpc[{_EXTRAS.get(self.scheme, self.scheme)}]'"
        try:
            found = importlib.import_module(module)
            if part is not None:
                importlib.import_module(part)
        except ImportError as error:
            if found is None:
                raise ConfigError(
                    f"{self} needs {name}, which is not installed", hint=f"pip install {extra}"
                ) from error
            others = _owners_of(module, name)
            raise ConfigError(
                f"{self} needs {name}, but the module {module!r} comes from {others or found.__file__}",
                hint=f"pip uninstall {others}, then pip install --force-reinstall {extra}: {reason}"
                if others
                else "rename that module",
            ) from error
        return found

    def take_shared(self, schemes: Sequence[str] = ("tcp", "tls", "relay")) -> SharedOptions:
        """Return the options that every registry has. Call this last, because it refuses all unread options.

        Args:
            schemes: the default for the schemes of addresses that may be dialled.
        """
        schemes = self.take("schemes", schemes, _comma_separated)
        networks = self.take("networks", None, _comma_separated)
        cache_file = self.take("cache_file", None, os.path.expanduser)
        self.refuse_unread()
        return {"policy": AddressPolicy(schemes=schemes, networks=networks), "cache_file": cache_file}

    def refuse_unread(self) -> None:
        """Refuse the options that were not read.

        Raises:
            ConfigError: such an option is given.
        """
        if self._options:
            raise ConfigError(
                f"{self} has no option {', '.join(sorted(self._options))}",
                hint=f"there are {', '.join(sorted(self._known))}" if self._known else None,
            )

    def refuse_tls(self) -> None:
        """Refuse certificates for a registry without connections.

        Raises:
            ConfigError: certificates are given.
        """
        if self._tls is not None:
            raise ConfigError(f"{self} has no connection that tls could encrypt", hint="leave tls out")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}{'/' if self.path else ''}{self.path}"


@overload
def open_registry(registry: str | Sequence[str | Registry], *, tls: TLS | None = None) -> WatchedRegistry: ...
@overload
def open_registry(registry: Registry, *, tls: TLS | None = None) -> Registry: ...
def open_registry(registry: str | Registry | Sequence[str | Registry], *, tls: TLS | None = None) -> Registry:
    """Return the registry at a URL, or a `Merged` registry for a list; a registry object is returned unchanged.

    Args:
        tls: the certificates for a URL with `tls=true` that names no certificates.

    Raises:
        ConfigError: the scheme is unknown, an option is wrong, or an extra is not installed.
    """
    if not is_opened(registry):
        if not hasattr(registry, "watch"):
            raise ConfigError(
                f"{registry!r} is not a registry", hint="give a URL, or an object of fastrpc.registries"
            )
        return cast(Registry, registry)
    if not isinstance(registry, str):
        return cast(Registry, load(_MERGED)(registry, tls=tls))
    return open_url(RegistryURL(registry, tls))


def open_url(url: RegistryURL) -> WatchedRegistry:
    """Return the registry at a URL.

    Raises:
        ConfigError: as `open_registry` raises it.
    """
    if url.path and url.scheme in _REGISTRIES:
        raise ConfigError(
            f"{url} is more than a registry", hint=f"leave /{url.path} out: each client names its service"
        )
    return cast(WatchedRegistry, _opener(url)(url))


def is_opened(registry: object) -> TypeGuard[str | Sequence[str | Registry]]:
    """Return whether `open_registry` would create a new object, which its caller must close."""
    return isinstance(registry, str | list | tuple)


def names_registry(text: str) -> bool:
    """Return whether a text is the URL of a registry, with or without a service, rather than an address."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and (scheme.lower() in _REGISTRIES or scheme in _foreign_names(scheme))


def known_schemes() -> list[str]:
    """Return the schemes of all registries, including installed packages."""
    from importlib.metadata import entry_points

    return sorted({*_REGISTRIES, *entry_points(group=ENTRY_POINT_GROUP).names})


def names_service(url: str) -> bool:
    """Return whether the URL of a registry also names a service."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    place, _, service = rest.partition("/")
    return bool(service) or scheme.lower() == "dns" or (scheme.lower() in _WITHOUT_PLACE and bool(place))


def split_target(target: str) -> tuple[str, str] | None:
    """Return the URL of the registry and the service that a target names; None if it is an address.

    `consul://host:8500/arith?dc=west` is the service `arith` of the registry `consul://host:8500?dc=west`.
    `dns://host:port` is the service `host:port`, resolved by the system's resolver. `dns://resolver:53/host:port` is
    resolved by `resolver:53`. `lan://arith` is the service `arith`, because `lan://` has no host.

    Raises:
        ConfigError: the target names a registry but no service, or it has a user.
    """
    if not names_registry(target):
        return None
    scheme, _, rest = target.partition("://")
    place, mark, options = rest.partition("?")
    place, _, service = place.partition("/")
    _check_user(scheme, place)
    if (scheme.lower() == "dns" or scheme.lower() in _WITHOUT_PLACE) and not service:
        place, service = "", place
    if not service:
        forms = {"dns": "host:port"} | dict.fromkeys(_WITHOUT_PLACE, "service")
        form = forms.get(scheme.lower(), f"{place or 'host:port'}/service")
        raise ConfigError(f"{scheme}://{place} names no service", hint=f"write {scheme}://{form}")
    return f"{scheme}://{place}{mark}{options}", service


def target_for(address: str, service: str) -> str:
    """Return the target of a service: add the service to a registry's URL, return an address unchanged.

    A URL that already names a service is unchanged. If `service` is empty, every URL is unchanged.
    """
    place, mark, options = address.partition("?")
    scheme, _, rest = place.partition("://")
    if not service or not names_registry(address) or names_service(address):
        return address
    return f"{scheme}://{rest.rstrip('/')}/{service}{mark}{options}"


def _check_user(scheme: str, place: str) -> None:
    """Refuse a user before the host. The error does not show the user: a password may follow it."""
    if "@" in place:
        raise ConfigError(f"{scheme}:// takes no user name", hint="give a secret as an option: ?token_file=…")


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser for an option with fixed choices."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return text

    return read


def whole_seconds(text: str) -> int:
    """Parse an option that is a number of seconds."""
    if not text.isdecimal() or not 2 <= int(text) <= 86_400:
        raise ValueError("it must be a whole number of seconds from 2 to 86400")
    return int(text)


def truth(text: str) -> bool:
    """Parse an option that is true or false."""
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError("it must be true or false")
    return text.lower() in {"true", "1", "yes"}


def _file_name(text: str) -> str:
    if not text:
        raise ValueError("it must be the path of a file")
    return os.path.expanduser(text)


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _opener(url: RegistryURL) -> Callable[[RegistryURL], Any]:
    place = _REGISTRIES.get(url.scheme)
    if place is not None:
        return cast(Callable[[RegistryURL], Any], load(place))
    # Imported here, because it loads parsers of package metadata, which would slow down every import of fastrpc.
    from importlib.metadata import entry_points

    foreign = entry_points(group=ENTRY_POINT_GROUP)
    for entry in foreign:
        if entry.name == url.scheme:
            return cast(Callable[[RegistryURL], Any], entry.load())
    hint = f"known are {', '.join(known_schemes())}"
    if url.scheme in {"tcp", "tls"}:
        hint = f"the address of a registry is written registry://host:port; {hint}"
    raise ConfigError(f"{url}: no registry has the scheme {url.scheme!r}", hint=hint)


def _foreign_names(scheme: str) -> set[str]:
    if scheme in {"tcp", "tls", "unix", "memory"}:
        return set()
    from importlib.metadata import entry_points

    return set(entry_points(group=ENTRY_POINT_GROUP).names)


def _owners_of(module: str, name: str) -> str:
    """Return the names of the installed packages, other than `name`, that contain a module."""
    from importlib.metadata import packages_distributions

    return " ".join(one for one in packages_distributions().get(module, ()) if one != name)
