"""Settings of `fastrpc run`: arguments, then environment, then a TOML file, then defaults.

The keys of the file are the fields of `ServerConfig`, and `app`, `address`, `workers`, `control`, `registry`, `store`,
`broker`, `advertise`, `zone`, `region`, `latitude`, `longitude`, `label`, `weight`, `tokens`, `policy`, `log_level`,
`log_format`, `otel`; each is also a variable of the environment: `[timeouts] drain` is FASTRPC_TIMEOUTS_DRAIN.
`[addresses]` and `[connection_rate]` are two of the limits of `fastrpc.limits`.
"""

import dataclasses
import os
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from fastrpc.cli.setting_places import SettingPlaces
from fastrpc.config import ServerConfig
from fastrpc.config.validation import SECRETS
from fastrpc.errors import ConfigError
from fastrpc.limits import Addresses, ConnectionRate, Limit
from fastrpc.rpc.description import nearest_name
from fastrpc.workers.plan import DEFAULT_ADDRESS

__all__ = ["RunSettings", "read_settings"]

PREFIX = "FASTRPC_"

#: Variables that are not settings. They are read by commands that dial (TOKEN), `lan://` (LAN_KEY_FILE), failed calls
#: (TRACEBACKS) and `any://`; CONFIG names the file.
_NO_SETTINGS = {"CONFIG", "TOKEN", "LAN_KEY_FILE", "TRACEBACKS", "PROVIDER", "HOST_FOLDER", "LAN_PASS"}

#: Settings whose values are not shown in errors: secrets, and URLs that may contain a secret.
_HIDDEN = SECRETS | {"registry", "store", "broker"}

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LogFormat = Literal["text", "json"]

_ALL_KEYS = "a key is an option of `fastrpc run --help`, or a field: help(fastrpc.ServerConfig)"

#: Keys that are not fields of ServerConfig, with their types.
_OWN_KEYS: dict[str, Any] = {
    "app": str,
    "address": str | list[str],
    "workers": int,
    "worker_timeout": float | None,
    "max_calls": int | None,
    "control": str | None,
    "registry": str | list[str] | None,
    "store": str | None,
    "broker": str | None,
    "advertise": str | list[str],
    "zone": str,
    "region": str,
    "latitude": float,
    "longitude": float,
    "label": str | list[str],
    "weight": int,
    "tokens": str | None,
    "policy": str | None,
    "log_level": LogLevel,
    "log_format": LogFormat,
    "otel": bool,
    "addresses.allow": list[str],
    "addresses.deny": list[str],
    "connection_rate.rate": float,
    "connection_rate.burst": int | None,
    "connection_rate.per": Literal["address", "server"],
}

#: The limits whose fields are sections of the file.
_LIMITS: dict[str, type[Addresses | ConnectionRate]] = {
    "addresses": Addresses,
    "connection_rate": ConnectionRate,
}

#: The keys that are fields of a `Place`.
_PLACE_KEYS = ("zone", "region", "latitude", "longitude", "weight")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """The settings of `fastrpc run`, from all sources."""

    app: str | None
    addresses: tuple[str, ...]
    workers: int
    log_level: LogLevel
    config: ServerConfig
    worker_timeout: float | None = 60.0
    max_calls: int | None = None
    log_format: LogFormat = "text"
    otel: bool = False
    #: The path of the control socket. `takeover`: whether to take over from the program that serves this socket.
    control: str | None = None
    takeover: bool = False
    registry: tuple[str, ...] = ()
    store: str | None = None
    broker: str | None = None
    advertise: tuple[str, ...] = ()
    #: The given fields of a `Place`, with the labels as pairs under "label".
    placed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    #: The paths of the files of tokens and rules.
    tokens: str | None = None
    policy: str | None = None
    #: Whether the level was set, not defaulted.
    log_level_is_demanded: bool = False
    #: The given values for ServerConfig, by key.
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: The places of the settings in the file and in the environment.
    places: SettingPlaces = dataclasses.field(default_factory=lambda: SettingPlaces({}, {}))

    @property
    def has_implied_http(self) -> bool:
        """Whether HTTP is on because applications are mounted, and no protocols are set."""
        return _implies_http(self.said)

    def over(self, config: ServerConfig) -> ServerConfig:
        """Return a program's settings, overridden by these."""
        return _config(self.said, config, self.places)


def read_settings(
    arguments: Mapping[str, Any], environment: Mapping[str, str], file: Path | None
) -> tuple[RunSettings, list[str]]:
    """Return the settings, and warnings about variables that look misspelt.

    Args:
        arguments: the given arguments, by key; None for a missing one.
        file: a TOML file; if None, FASTRPC_CONFIG may name one.

    Raises:
        ConfigError: a key is unknown, or a value does not fit; the message names the place.
    """
    keys = known_keys()
    named_by = "--config"
    if file is None and environment.get(f"{PREFIX}CONFIG"):
        named_by = f"{PREFIX}CONFIG"
        file = Path(environment[named_by])
    found = _Found()
    if file is not None:
        _take_file(found, file, named_by, keys)
    _take_environment(found, environment, keys)
    _take_arguments(found, arguments)
    values, places = found.values, SettingPlaces(found.places, _fields_of_all())
    settings = RunSettings(
        app=values.get("app"),
        addresses=_several(values.get("address", DEFAULT_ADDRESS)),
        workers=values.get("workers", 1),
        worker_timeout=values.get("worker_timeout", 60.0),
        max_calls=values.get("max_calls"),
        log_level=values.get("log_level", "info"),
        log_level_is_demanded="log_level" in values,
        log_format=values.get("log_format", "text"),
        otel=values.get("otel", False),
        config=_config(values, ServerConfig(), places),
        places=places,
        said={key: value for key, value in values.items() if key not in _OWN_KEYS},
        control=values.get("control"),
        registry=_several(values.get("registry") or ()),
        store=values.get("store"),
        broker=values.get("broker"),
        advertise=_several(values.get("advertise", ())),
        placed=_placed(values),
        limits=tuple(_limits(values, places)),
        tokens=values.get("tokens"),
        policy=values.get("policy"),
    )
    return settings, _suspicious(environment, keys)


def _placed(values: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: values[name] for name in _PLACE_KEYS if name in values}
    return given | ({"label": _several(values["label"])} if "label" in values else {})


def _limits(values: Mapping[str, Any], places: SettingPlaces) -> Iterator[Limit]:
    """Yield the limits whose sections are given."""
    for section, kind in _LIMITS.items():
        keys = [key for key in values if key.rpartition(".")[0] == section]
        if keys:
            # A rate is required; a missing rate is reported like any wrong value.
            given: dict[str, Any] = {"rate": None} if kind is ConnectionRate else {}
            given |= {key.rpartition(".")[2]: values[key] for key in keys}
            with places.naming_fields(section):
                yield kind(**given)


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def known_keys() -> dict[str, Any]:
    """Return the type of every key; keys of a section contain a dot."""
    keys = dict(_OWN_KEYS)
    return keys | _keys_of(ServerConfig)


def _keys_of(settings: type[Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, kind in get_type_hints(settings).items():
        section = _section(kind)
        if section is None:
            keys[name] = _plain(kind)
        else:
            keys |= {f"{name}.{key}": of for key, of in _keys_of(section).items()}
    return keys


def _fields_of(settings: type[Any], section: str = "") -> dict[str, str]:
    """Return the names that errors use for the fields of the keys, such as `Limits.message_bytes`."""
    fields: dict[str, str] = {}
    for name, kind in get_type_hints(settings).items():
        inner = _section(kind)
        fields[f"{section}{name}"] = f"{settings.__name__}.{name}"
        if inner is not None:
            fields |= _fields_of(inner, f"{section}{name}.")
    return fields


def _fields_of_all() -> dict[str, str]:
    fields = _fields_of(ServerConfig)
    for section, kind in _LIMITS.items():
        fields |= {f"{section}.{one.name}": f"{kind.__name__}.{one.name}" for one in dataclasses.fields(kind)}
    return fields


def _section(kind: Any) -> type[Any] | None:
    for one in (kind, *get_args(kind)):
        if dataclasses.is_dataclass(one) and isinstance(one, type):
            return one
    return None


def _plain(kind: Any) -> Any:
    """Return a type in the form that files can express: a path is a text."""
    if get_origin(kind) not in {Union, types.UnionType}:
        return kind
    parts = tuple(part for part in get_args(kind) if get_origin(part) is not os.PathLike)
    return Union[parts]  # noqa: UP007 (a tuple of types, known at run time only)


def _config(values: Mapping[str, Any], base: ServerConfig, places: SettingPlaces) -> ServerConfig:
    given = {key: value for key, value in values.items() if key not in _OWN_KEYS}
    if _implies_http(given) and "http" not in base.protocols:
        given["protocols"] = (*base.protocols, "http")
    return cast(ServerConfig, _replaced(base, ServerConfig, given, places))


def _implies_http(values: Mapping[str, Any]) -> bool:
    """Return whether applications are mounted, which need HTTP, and no protocols are given."""
    return bool(values.get("http.mounts")) and "protocols" not in values


def _replaced(
    base: Any, kind: type[Any], values: Mapping[str, Any], places: SettingPlaces, place: str = ""
) -> Any:
    """Return settings with other values. A key has a dot for each section.

    Args:
        place: the section of these settings.
    """
    options: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, dot, rest = key.partition(".")
        if dot:
            sections.setdefault(section, {})[rest] = value
        else:
            options[key] = value
    kinds = get_type_hints(kind)
    for section, fields in sections.items():
        inner = _section(kinds[section])
        assert inner is not None
        held = None if base is None else getattr(base, section)
        options[section] = _replaced(held, inner, fields, places, f"{place}.{section}".lstrip("."))
    with places.naming_fields(place):
        return kind(**options) if base is None else dataclasses.replace(base, **options)


@dataclasses.dataclass(slots=True)
class _Found:
    """Values by key, and their places."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    places: dict[str, str] = dataclasses.field(default_factory=dict)

    def take(self, place: str, key: str, value: Any, kind: Any, *, strict: bool) -> None:
        self.values[key] = _convert(place, key, value, kind, strict=strict)
        self.places[key] = place


def _take_arguments(found: _Found, arguments: Mapping[str, Any]) -> None:
    """Read the values of the command line, which override others. Mounts are added to other mounts."""
    for key, value in arguments.items():
        if value is not None:
            found.values[key] = {**found.values.get(key, {}), **value} if key == "http.mounts" else value
            found.places.pop(key, None)


# The file


def _take_file(found: _Found, file: Path, named_by: str, keys: Mapping[str, Any]) -> None:
    """Read the values of a file that an option or a variable names."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}",
            hint=f"check the path {'after' if named_by.startswith('-') else 'in'} {named_by}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} is not TOML: {error}", hint="each line is: key = value; texts need quotes"
        ) from None
    _take_table(found, str(file), "", table, keys)


def _take_table(
    found: _Found, file: str, section: str, table: Mapping[str, Any], keys: Mapping[str, Any]
) -> None:
    """Read the values of a table and of its subtables."""
    for name, value in table.items():
        key = f"{section}.{name}" if section else name
        place = f"{file}: [{section}] {name}" if section else f"{file}: {name}"
        if isinstance(value, dict) and not section and key not in keys:
            _check_section(place, name, keys)
        if isinstance(value, dict) and any(known.startswith(f"{key}.") for known in keys):
            _take_table(found, file, key, value, keys)
        else:
            _check_known(place, key, keys)
            found.take(place, key, value, keys[key], strict=True)


def _check_section(place: str, name: str, keys: Mapping[str, Any]) -> None:
    """Refuse an unknown table, and name the nearest one."""
    sections = sorted({key.partition(".")[0] for key in keys if "." in key})
    if name not in sections:
        near = nearest_name(name, sections)
        hint = f"did you mean [{near}]?" if near else f"there are {', '.join(f'[{one}]' for one in sections)}"
        raise ConfigError(f"{place} is not a setting", hint=hint)


def _check_known(place: str, key: str, keys: Mapping[str, Any]) -> None:
    if key in keys:
        return
    near = nearest_name(key, keys)
    section = key.rpartition(".")[0]
    if near is None:
        inside = [one.rpartition(".")[2] for one in keys if one.rpartition(".")[0] == section]
        # At the top level there are too many keys for a line.
        hint = f"there are {', '.join(inside)}" if section and inside else _ALL_KEYS
    else:
        hint = f"did you mean {near.rpartition('.')[2] if near.rpartition('.')[0] == section else near!r}?"
    raise ConfigError(f"{place} is not a setting", hint=hint)


def _convert(place: str, key: str, value: Any, kind: Any, *, strict: bool) -> Any:
    """Convert a value to its type; the text "none" stands for None, which TOML lacks."""
    if value == "none" and type(None) in get_args(kind):
        return None
    if get_origin(kind) is Literal and isinstance(value, str):
        # Lower case is accepted, as on the command line: FASTRPC_LOG_LEVEL=INFO.
        value = value.lower()
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        shown = f"<{type(value).__name__} object>" if key.rpartition(".")[2] in _HIDDEN else repr(value)
        raise ConfigError(f"{place} is {shown}, it must be {_allowed(kind)}") from None


#: The values that settings of a type can have, as error texts name them.
_WORDS: dict[Any, tuple[str, ...]] = {
    bool: ("true", "false"),
    float: ("a number",),
    int: ("a whole number",),
    str: ("a text",),
    type(None): ('"none"',),
    Mapping[str, Any]: ("a table",),
}


def _allowed(kind: Any) -> str:
    """Return the values that a type allows, in words."""
    is_union = get_origin(kind) in {Union, types.UnionType}
    words: list[str] = []
    for one in get_args(kind) if is_union else (kind,):
        is_choice = get_origin(one) is Literal
        words += get_args(one) if is_choice else _WORDS.get(one, ("a list of texts",))
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


# The environment


def _take_environment(found: _Found, environment: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    place = "WEB_CONCURRENCY"
    if environment.get(place) and _variable("workers") not in environment:
        found.take(place, "workers", environment[place], int, strict=False)
    for key, kind in keys.items():
        name = _variable(key)
        text = environment.get(name)
        if text is None:
            continue
        takes_many = any(get_origin(one) in {list, tuple} for one in (kind, *get_args(kind)))
        # URLs contain commas.
        parts = text.split() if key == "registry" else text.split(",")
        value: Any = [part.strip() for part in parts] if takes_many and text != "none" else text
        if get_origin(kind) is Mapping and "=" in text:
            # The form is FASTRPC_HTTP_MOUNTS=/=shop:app,/old=old_shop:app.
            value = dict(part.strip().partition("=")[::2] for part in text.split(","))
        found.take(name, key, value, kind, strict=False)


def _suspicious(environment: Mapping[str, str], keys: Mapping[str, Any]) -> list[str]:
    """Return a warning for each variable whose name is similar to a variable of fastrpc."""
    known = {_variable(key).removeprefix(PREFIX) for key in keys} | _NO_SETTINGS
    warnings = []
    for name in environment:
        rest = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and rest not in known and (near := nearest_name(rest, known)):
            warnings.append(f"{name} is not a setting; did you mean {PREFIX}{near}?")
    return warnings


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()
