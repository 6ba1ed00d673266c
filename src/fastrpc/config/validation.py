"""The base of all settings: comparison, `repr`, and checks whose errors name field, value and allowed range."""

import functools
import os
from dataclasses import MISSING, field, fields
from math import isfinite
from typing import Any, TypeVar, cast, dataclass_transform

from fastrpc.config.unknown_names import unknown_setting
from fastrpc.errors import ConfigError
from fastrpc.value_class import frozen_class

__all__ = [
    "LARGEST_COUNT",
    "LARGEST_SIZE",
    "LONGEST_SECONDS",
    "SECRETS",
    "SERVER_PROTOCOLS",
    "WIRE_PROTOCOLS",
    "Settings",
    "check_choice",
    "check_count",
    "check_flag",
    "check_name",
    "check_names",
    "check_networks",
    "check_number",
    "check_parts",
    "check_path",
    "check_seconds",
    "check_text",
    "check_timeout",
    "check_tls",
    "check_token",
    "is_duration",
    "settings_class",
    "wrong",
]

_Kind = TypeVar("_Kind")

#: The names for `ServerConfig.protocols`; `fastrpc.protocols.base.register` adds to them.
SERVER_PROTOCOLS = ["native", "http", "rpcx", "phobos", "grpc"]

#: The names for `ClientConfig.wire_protocol`. If a record lists several, the first of these is spoken.
WIRE_PROTOCOLS = ["native", "grpc", "rpcx", "phobos"]

# The parts of a configuration that may be left out.
_OPTIONAL_PARTS = frozenset({"tls", "breaker", "outlier", "probes"})

#: Settings whose value is never shown, not even in errors.
SECRETS = frozenset({"admin_token", "key_password"})

# The first bytes in files of certificates and keys.
_PEM = "-----BEGIN "

# The longest duration, about three years: its nanoseconds stay far below the limit of 64 bits. None means no limit.
LONGEST_SECONDS = 100_000_000
# Largest value of the wire's signed 32-bit counts (PROTOCOL.md, settings).
LARGEST_COUNT = 2**31 - 1
# A size above this is a mistake in the unit.
LARGEST_SIZE = 2**40


class Settings:
    """The base of all settings. Sharing one set of methods among all classes halves the import time."""

    __slots__ = ()

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(cast(Any, self)))

    def __repr__(self) -> str:
        # The defaults are omitted: they would fill the `help` of clients and servers, which take settings as arguments.
        parts = (
            f"{field.name}={_shown(field.name, getattr(self, field.name))}"
            for field in fields(cast(Any, self))
            if getattr(self, field.name) != _default_of(field)
        )
        return f"{type(self).__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash(self._values())


def _shown(name: str, value: Any) -> str:
    """Return the text of a value; secrets must not get into logs."""
    return "…" if name in SECRETS else repr(value)


def _default_of(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


# Type checkers follow `dataclass_transform` only if it decorates a function.
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def settings_class(cls: type[_Kind]) -> type[_Kind]:
    made = frozen_class(cls, kw_only=True)
    _NAMES[made.__name__] = names = tuple(cast(Any, made).__dataclass_fields__)
    _explain(made, names)
    return made


# The settings of each class, to detect a setting of another class.
_NAMES: dict[str, tuple[str, ...]] = {}


def _explain(made: Any, names: tuple[str, ...]) -> None:
    """Make a class raise helpful errors for unknown settings."""
    init, known, owner = made.__init__, frozenset(names), made.__name__

    @functools.wraps(init)
    def explained(self: Any, *args: Any, **values: Any) -> None:
        if args:
            raise TypeError(f"{owner} takes its settings by name: write {owner}({names[0]}=…)")
        if not known.issuperset(values):
            raise unknown_setting(owner, next(name for name in values if name not in known), names, _NAMES)
        init(self, **values)

    made.__init__ = explained


def wrong(settings: Any, name: str, allowed: str, hint: str | None = None) -> ConfigError:
    """Return the ConfigError for a wrong value, in the form of all checks."""
    value = getattr(settings, name)
    return ConfigError(f"{type(settings).__name__}.{name} is {value!r}, it must be {allowed}", hint=hint)


def check_number(
    settings: Any, name: str, lowest: float, highest: float, *, optional: bool = False, above: bool = False
) -> None:
    """Refuse anything but a number from `lowest` (or `above` it) to `highest`."""
    value = getattr(settings, name)
    if value is None and optional:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Comparisons refuse NaN, and allow ints beyond the largest float.
    if number and (lowest < value if above else lowest <= value) and value <= highest:
        return
    start = f"a number above {lowest:,}" if above else f"a number from {lowest:,}"
    allowed = f"{start} {'and at most' if above else 'to'} {highest:,}{', or None' if optional else ''}"
    endless = optional and isinstance(value, float) and not isfinite(value)
    raise wrong(settings, name, allowed, hint="None means no limit" if endless else None)


def check_seconds(settings: Any, name: str, *, zero: bool = False, optional: bool = False) -> None:
    """Refuse anything but a duration in seconds; `zero` allows 0."""
    check_number(settings, name, 0, LONGEST_SECONDS, optional=optional, above=not zero)


def is_duration(value: Any, *, zero: bool = False) -> bool:
    """Return whether a value is a valid timeout in seconds; `zero` allows 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= LONGEST_SECONDS and (zero or value > 0)


def check_timeout(value: Any, *, zero: bool = False, hint: str | None = None, name: str = "timeout") -> None:
    """Refuse anything but None or a valid timeout in seconds; `zero` allows 0.

    Raises:
        ConfigError: the value is invalid; the message has the value and the allowed range.
    """
    if value is None or is_duration(value, zero=zero):
        return
    start = "from 0" if zero else "above 0"
    raise ConfigError(
        f"{name} is {value!r}, it must be seconds {start} and at most {LONGEST_SECONDS:,}, or None",
        hint=hint,
    )


def check_token(settings: Any, name: str) -> None:
    """Refuse anything but a token, the path of its file, or None. The error does not show the value."""
    value = getattr(settings, name)
    is_text = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    if value is None or (value and (is_text or isinstance(value, os.PathLike))):
        return
    raise ConfigError(
        f"{type(settings).__name__}.{name} is <{type(value).__name__} object>, it must be a text of visible ASCII "
        "without spaces, a path, or None",
        hint='a text "file:/path" names a file, too',
    )


def check_count(settings: Any, name: str, lowest: int, highest: int = LARGEST_COUNT) -> None:
    """Refuse anything but a whole number from `lowest` to `highest`."""
    value = getattr(settings, name)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise wrong(settings, name, f"a whole number from {lowest:,} to {highest:,}")


def check_flag(settings: Any, name: str) -> None:
    if not isinstance(getattr(settings, name), bool):
        raise wrong(settings, name, "True or False")


def check_text(settings: Any, name: str) -> None:
    if not isinstance(getattr(settings, name), str):
        raise wrong(settings, name, "a text")


def check_name(settings: Any, name: str) -> None:
    value = getattr(settings, name)
    if not isinstance(value, str) or not value:
        raise wrong(settings, name, "a text that is not empty")


def check_names(settings: Any, name: str) -> tuple[str, ...]:
    """Refuse anything but a sequence of texts, without repetition, and store it as a tuple."""
    value = getattr(settings, name)
    if not isinstance(value, tuple | list) or not value or not all(isinstance(item, str) for item in value):
        raise wrong(settings, name, "a tuple of one or more texts", hint=f"write {name}=('…',)")
    if len(set(value)) < len(value):
        raise wrong(settings, name, "without repetition")
    names = tuple(value)
    object.__setattr__(settings, name, names)
    return names


def check_networks(settings: Any, name: str, *, or_else: tuple[str, ...] = ()) -> None:
    """Refuse texts that are neither networks of IP addresses nor one of `or_else`."""
    # Imported on first use: few servers have networks in their settings.
    import ipaddress

    for text in getattr(settings, name):
        if text in or_else:
            continue
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise wrong(settings, name, f"networks such as '10.0.0.0/8' ({error})") from None


def check_choice(settings: Any, name: str, choices: tuple[str | None, ...]) -> None:
    if getattr(settings, name) not in choices:
        raise wrong(settings, name, f"one of {', '.join(map(repr, choices))}")


def check_path(settings: Any, name: str) -> None:
    value = getattr(settings, name)
    if isinstance(value, bytes | bytearray):
        # The bytes may be a private key, so they are not shown.
        raise ConfigError(
            f"{type(settings).__name__}.{name} is {type(value).__name__}, it must be a path as text, or None",
            hint="os.fsdecode makes a text of a path; contents go to a file that only this user can read",
        )
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if path is not None and _PEM in os.fsdecode(path):
        raise ConfigError(
            f"{type(settings).__name__}.{name} is the contents of a file, it must be its path, or None",
            hint="write the contents to a file that only this user can read, and give its path",
        )
    if value is not None and not path:
        raise wrong(settings, name, "a path, or None")


def check_parts(settings: Any, **kinds: type[Any]) -> None:
    """Refuse anything but an object of the settings class of each field; some fields may be None."""
    for name, kind in kinds.items():
        value = getattr(settings, name)
        if not isinstance(value, kind) and not (value is None and name in _OPTIONAL_PARTS):
            allowed = f"a {kind.__name__}{', or None' if name in _OPTIONAL_PARTS else ''}"
            raise wrong(settings, name, allowed, hint=f"write {name}={kind.__name__}(…)")


def check_tls(tls: Any) -> None:
    """Refuse certificates whose settings contradict each other."""
    if tls.key_password is not None and (not isinstance(tls.key_password, str) or not tls.key_password):
        kind = type(tls.key_password).__name__
        raise ConfigError(
            f"TLS.key_password is <{kind} object>, it must be a text that is not empty, or None"
        )
    for name in ("key_file", "key_password"):
        if getattr(tls, name) is not None and tls.cert_file is None:
            raise ConfigError(
                f"TLS.{name} is {'set' if name in SECRETS else repr(os.fspath(tls.key_file))}, but cert_file is None",
                hint="set cert_file to the certificate that belongs to this key",
            )
    if tls.require_client_cert and tls.ca_file is None:
        raise ConfigError(
            "TLS.require_client_cert is True, but ca_file is None",
            hint="set ca_file to the authority that signs the clients' certificates",
        )
