"""Settings refuse wrong values by name and can be kept, compared and copied."""

import copy
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fastrpc import config
from fastrpc.config import (
    HTTP,
    TLS,
    Backoff,
    Breaker,
    ClientConfig,
    HTTPLimits,
    Keepalive,
    Limits,
    Memory,
    Outlier,
    Probes,
    Retries,
    ServerConfig,
    Timeouts,
)
from fastrpc.errors import ConfigError

CLASSES = [getattr(config, name) for name in config.__all__]

MIB = 1024 * 1024

# The table "Configuration" of the public interface.
DEFAULTS: dict[str, dict[str, Any]] = {
    "Timeouts": {
        "connect": 1,
        "call": 5,
        "handshake": 5,
        "stream_idle": None,
        "idle": None,
        "announce": 0,
        "drain": 30,
        "linger": 1,
    },
    "Keepalive": {"interval": 10, "timeout": 10, "minimum_interval": 0.5, "max_age": None},
    "Limits": {
        "message_bytes": 16 * MIB,
        "frame_bytes": 256 * 1024,
        "metadata_bytes": 8 * 1024,
        "concurrent_calls": 10_000,
        "streams": 1_000,
        "stream_window_bytes": 64 * 1024,
        "connections": 10_000,
        "depth": 100,
        "longest_call": None,
    },
    "Memory": {
        "process_bytes": 1024 * MIB,
        "request_bytes": 64 * MIB,
        "stream_pool": 32 * MIB,
        "send_soft": 4 * MIB,
        "send_hard": 64 * MIB,
        "open_messages": 4,
        "items": 1_000_000,
    },
    "HTTP": {
        "http2": True,
        "json": True,
        "jsonrpc": False,
        "websocket": False,
        "mcp": False,
        "rpcx": False,
        "phobos": False,
        "grpc_web": False,
        "connect": False,
        "docs": None,
        "cors_origins": (),
        "allowed_hosts": (),
        "mounts": {},
        "mount_authenticated": None,
        "root_path": "",
        "trusted_proxies": (),
        "compress": False,
        "openapi": config.OpenAPI(),
        "limits": HTTPLimits(),
    },
    "OpenAPI": {"title": None, "version": None, "description": "", "servers": (), "specification": "3.1"},
    "HTTPLimits": {
        "header_seconds": 5,
        "idle_seconds": 75,
        "body_idle_seconds": 10,
        "headers": 100,
        "header_bytes": 32 * 1024,
        "target_bytes": 8 * 1024,
    },
    "Admission": {"handshakes": 256, "queue_length": 10_000, "queue_age": 1, "handler_threads": 32},
    "Pool": {
        "connections_per_endpoint": "auto",
        "warm": 0,
        "retries": config.Retries(),
        "breaker": config.Breaker(),
        "outlier": config.Outlier(),
        "probes": None,
    },
    "Backoff": {"first": 0.1, "factor": 1.6, "longest": 30, "jitter": 0.2},
    "Retries": {
        "budget_share": 0.2,
        "budget_per_second": 10,
        "backoff": config.Backoff(first=0.02, factor=2, longest=1, jitter=0.5),
    },
    "Breaker": {
        "consecutive": 5,
        "fault_rate": 0.5,
        "minimum_calls": 20,
        "window": 10,
        "open_seconds": 1,
        "longest_open": 2,
        "probes": 1,
    },
    "Outlier": {
        "consecutive": 5,
        "interval": 1,
        "minimum_calls": 20,
        "success_gap": 0.2,
        "slow_factor": 5,
        "slow_above": 0.01,
        "ejection": 5,
        "longest_ejection": 300,
    },
    "Probes": {"interval": 5, "timeout": 1, "service": "", "fall": 2, "rise": 1},
    "TLS": {
        "cert_file": None,
        "key_file": None,
        "key_password": None,
        "ca_file": None,
        "crl_file": None,
        "require_client_cert": False,
        "server_name": None,
        "server_identities": (),
    },
    "ClientConfig": {
        "codec": "msgpack",
        "compressor": None,
        "compress_above": 1024,
        "wire_protocol": None,
        "timeouts": config.Timeouts(),
        "keepalive": config.Keepalive(),
        "limits": config.Limits(),
        "pool": config.Pool(),
        "backoff": config.Backoff(),
        "tls": None,
        "early_calls": "idempotent",
        "spin_microseconds": 0,
        "memory": config.Memory(),
        "admission": config.Admission(),
        "allow_insecure_credentials": False,
    },
    "ServerConfig": {
        "timeouts": config.Timeouts(),
        "keepalive": config.Keepalive(),
        "limits": config.Limits(),
        "memory": config.Memory(),
        "admission": config.Admission(),
        "tls": None,
        "protocols": ("native",),
        "http": HTTP(),
        "codecs": ("raw", "msgpack", "json", "protobuf"),
        "reflection": None,
        "expose_errors": False,
        "check_results": False,
        "proxy_protocol": (),
        "admin_address": None,
        "admin_token": None,
        "admin_operators": None,
        "admin_advertise": None,
        "ready_needs_registry": False,
        "spin_microseconds": 0,
    },
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
class TestEveryClass:
    def test_has_the_documented_fields_and_defaults(self, kind: Any) -> None:
        settings = kind()
        found = {field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)}
        assert found == DEFAULTS[kind.__name__]

    def test_has_at_most_twenty_fields(self, kind: Any) -> None:
        # ServerConfig has the most: five of its settings are for the admin pages, whose names have the same beginning.
        assert len(dataclasses.fields(kind)) <= 20

    def test_cannot_be_changed(self, kind: Any) -> None:
        name = dataclasses.fields(kind)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), name, None)

    def test_takes_no_positional_arguments(self, kind: Any) -> None:
        with pytest.raises(TypeError):
            kind(1)

    def test_has_no_room_for_further_attributes(self, kind: Any) -> None:
        assert not hasattr(kind(), "__dict__")

    def test_equals_its_copy(self, kind: Any) -> None:
        settings = kind()
        duplicate = copy.deepcopy(settings)
        assert duplicate == settings
        assert hash(duplicate) == hash(settings)

    def test_checks_the_values_of_a_replacement(self, kind: Any) -> None:
        name = dataclasses.fields(kind)[0].name
        with pytest.raises(ConfigError):
            dataclasses.replace(kind(), **{name: object()})

    def test_refuses_a_wrong_type_in_each_field_by_its_name(self, kind: Any) -> None:
        for field in dataclasses.fields(kind):
            with pytest.raises(
                ConfigError, match=rf"^{kind.__name__}\.{field.name} is <.*object.* it must be "
            ):
                kind(**{field.name: object()})


OUT_OF_RANGE: list[tuple[Any, str, Any]] = [
    (Retries, "budget_share", -0.1),
    (Retries, "budget_per_second", -1),
    (Breaker, "consecutive", 0),
    (Breaker, "fault_rate", 0),
    (Breaker, "fault_rate", 1.1),
    (Breaker, "window", 0),
    (Breaker, "probes", 0),
    (Outlier, "consecutive", 0),
    (Outlier, "success_gap", 0),
    (Outlier, "slow_factor", 1),
    (Outlier, "slow_above", -1),
    (Outlier, "ejection", 0),
    (Probes, "interval", 0),
    (Probes, "timeout", None),
    (Probes, "service", None),
    (Probes, "fall", 0),
    (Probes, "rise", 0),
    (Timeouts, "connect", 0),
    (Timeouts, "call", -1),
    (Timeouts, "call", True),
    (Timeouts, "call", "5"),
    (Timeouts, "call", math.nan),
    (Timeouts, "call", math.inf),
    (Timeouts, "call", 10**400),
    (Timeouts, "call", 100_000_001),
    (Timeouts, "handshake", 0.0),
    (Timeouts, "stream_idle", 0),
    (Timeouts, "idle", 0),
    (Timeouts, "announce", None),
    (Timeouts, "announce", -0.1),
    (Timeouts, "drain", -1),
    (Timeouts, "linger", -1),
    (Keepalive, "interval", 0),
    (Keepalive, "timeout", None),
    (Keepalive, "minimum_interval", 3_601),
    (Keepalive, "max_age", 0),
    (Limits, "message_bytes", 4 * 1024 - 1),
    (Limits, "frame_bytes", 16 * 1024 - 1),
    (Limits, "frame_bytes", 16 * MIB + 1),
    (Limits, "frame_bytes", 65_536.0),
    (Limits, "metadata_bytes", 1_023),
    (Limits, "metadata_bytes", 65_536),
    (Limits, "concurrent_calls", 0),
    (Limits, "concurrent_calls", 2**31),
    (Limits, "concurrent_calls", None),
    (Limits, "streams", -1),
    (Limits, "stream_window_bytes", 16 * 1024 - 1),
    (Limits, "connections", 0),
    (Limits, "depth", 0),
    (Limits, "depth", 1_025),
    (Memory, "process_bytes", 0),
    (Memory, "send_soft", 65 * MIB),
    (Memory, "open_messages", 257),
    (Memory, "items", 0),
    (config.Admission, "handshakes", 0),
    (config.Admission, "queue_length", -1),
    (config.Admission, "queue_age", 0),
    (config.Admission, "handler_threads", 0),
    (config.Pool, "connections_per_endpoint", 0),
    (config.Pool, "warm", -1),
    (config.Pool, "retries", None),
    (config.Pool, "breaker", 5),
    (config.Pool, "outlier", True),
    (config.Pool, "probes", Outlier()),
    (Backoff, "first", 0),
    (Backoff, "factor", 0.9),
    (Backoff, "longest", 0),
    (Backoff, "jitter", 1.1),
    (TLS, "cert_file", ""),
    (TLS, "key_file", "server.key"),
    (TLS, "require_client_cert", True),
    (TLS, "server_name", ""),
    (TLS, "crl_file", 5),
    (TLS, "server_identities", "spiffe://corp/orders"),
    (TLS, "server_identities", ("spiffe://corp/orders", 1)),
    (ClientConfig, "codec", ""),
    (ClientConfig, "compressor", ""),
    (ClientConfig, "compress_above", -1),
    (ClientConfig, "wire_protocol", "http"),
    (ClientConfig, "early_calls", "some"),
    (ClientConfig, "spin_microseconds", -1),
    (ClientConfig, "timeouts", None),
    (ClientConfig, "limits", 5),
    (ServerConfig, "memory", Limits()),
    (ServerConfig, "protocols", "native"),
    (ServerConfig, "protocols", ()),
    (ServerConfig, "protocols", ("native", "smoke")),
    (ServerConfig, "codecs", ("json", "json")),
    (ServerConfig, "codecs", ("json", 1)),
    (ServerConfig, "reflection", 1),
    (ServerConfig, "expose_errors", None),
    (ServerConfig, "check_results", None),
    (ServerConfig, "admin_address", ""),
    (ServerConfig, "admin_advertise", ""),
    (ServerConfig, "admin_advertise", True),
    (ServerConfig, "ready_needs_registry", 1),
]


@pytest.mark.parametrize(("kind", "name", "value"), OUT_OF_RANGE)
def test_wrong_value_is_refused_with_field_and_value(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{kind.__name__}.{name} is {value!r}")):
        kind(**{name: value})


AT_THE_EDGE: list[tuple[Any, str, Any]] = [
    (Timeouts, "connect", None),
    (Timeouts, "call", None),
    (Timeouts, "handshake", None),
    (Timeouts, "drain", None),
    (Timeouts, "drain", 0),
    (Timeouts, "linger", None),
    (Timeouts, "linger", 0),
    (Keepalive, "interval", None),
    (Keepalive, "minimum_interval", 0),
    (Limits, "message_bytes", 4 * 1024),
    (Limits, "message_bytes", 2**40),
    (Limits, "frame_bytes", 16 * MIB),
    (Limits, "concurrent_calls", 1),
    (Limits, "streams", 0),
    (Limits, "depth", 1_024),
    (config.Admission, "queue_length", 0),
    (Backoff, "factor", 1),
    (Backoff, "jitter", 0),
    (Backoff, "longest", 0.05),
    (TLS, "cert_file", Path("server.pem")),
    (TLS, "server_identities", ("spiffe://corp/orders",)),
    (ClientConfig, "tls", TLS()),
    (ClientConfig, "compressor", "zstd"),
    (ServerConfig, "reflection", False),
]


@pytest.mark.parametrize(("kind", "name", "value"), AT_THE_EDGE)
def test_value_at_the_edge_of_its_range_is_kept(kind: Any, name: str, value: Any) -> None:
    assert getattr(kind(**{name: value}), name) == value


def test_error_states_the_allowed_range() -> None:
    with pytest.raises(ConfigError, match=r"it must be a whole number from 16,384 to 16,777,216$"):
        Limits(frame_bytes=1)


def test_error_of_an_optional_duration_mentions_none() -> None:
    with pytest.raises(ConfigError, match=r"above 0 and at most 100,000,000, or None$"):
        Timeouts(call=-1)


def test_infinite_duration_is_pointed_to_none() -> None:
    with pytest.raises(ConfigError) as caught:
        Timeouts(call=math.inf)
    assert caught.value.hint == "None means no limit"


def test_error_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="it must be one of 'idempotent', 'all', 'none'"):
        ClientConfig(early_calls="some")  # type: ignore[arg-type]


def test_error_for_a_bare_value_shows_the_object_to_write() -> None:
    with pytest.raises(ConfigError) as caught:
        ClientConfig(timeouts=5)  # type: ignore[arg-type]
    assert caught.value.hint == "write timeouts=Timeouts(…)"


def test_list_of_names_is_kept_as_a_tuple() -> None:
    assert ServerConfig(codecs=["json"]).codecs == ("json",)  # type: ignore[arg-type]


@pytest.mark.parametrize("password", ["", b"secret", 5])
def test_the_password_of_a_key_is_a_text_that_is_never_shown(password: Any) -> None:
    with pytest.raises(ConfigError, match=r"TLS\.key_password is <\w+ object>, it must be a text") as refused:
        TLS(cert_file="a.pem", key_password=password)
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(ServerConfig(tls=TLS(cert_file="a.pem", key_password="secret")))


def test_a_password_without_a_certificate_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match=r"TLS\.key_password is set, but cert_file is None") as refused:
        TLS(key_password="secret")
    assert "secret" not in str(refused.value)


SECRET = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n"


class AsBytes:
    """A path whose text is bytes."""

    def __fspath__(self) -> bytes:
        return SECRET.encode()


@pytest.mark.parametrize(
    "contents", [SECRET, Path(SECRET), AsBytes()], ids=["text", "path", "bytes of a path"]
)
@pytest.mark.parametrize("name", ["cert_file", "key_file", "ca_file", "crl_file"])
def test_the_contents_of_a_file_are_no_path_and_are_not_shown(name: str, contents: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"TLS\.{name} is the contents of a file, it must be its path"
    ) as refused:
        TLS(**{name: contents})
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("value", [b"/etc/key.pem", bytearray(SECRET.encode())], ids=["bytes", "bytearray"])
def test_bytes_are_no_path_and_are_not_shown(value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(ConfigError, match=rf"TLS\.key_file is {kind}, it must be a path as text") as refused:
        TLS(cert_file="cert.pem", key_file=value)
    assert "key.pem" not in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


def test_mounts_are_kept_as_they_were_and_compare_by_their_applications() -> None:
    given = {"/": print, "/shop": "shop:app"}
    http = HTTP(mounts=given)
    given.clear()
    assert dict(http.mounts) == {"/": print, "/shop": "shop:app"}
    same, other = HTTP(mounts=dict(http.mounts)), HTTP(mounts={"/": repr, "/shop": "shop:app"})
    assert (http == same, hash(http) == hash(same), http == other) == (True, True, False)
    assert not hasattr(http.mounts, "__setitem__")


@pytest.mark.parametrize("application", [7, None, "shop", ["shop:app"]])
def test_application_of_another_form_is_refused_with_its_prefix(application: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"HTTP\.mounts\['/shop'\] is .*it must be an ASGI application or 'module:name'"
    ):
        HTTP(mounts={"/shop": application})
