"""The settings of HTTP: values that are refused, and how."""

import re
from typing import Any

import pytest

from fastrpc import HTTP, ConfigError
from fastrpc.config import HTTPLimits, OpenAPI

OUT_OF_RANGE: list[tuple[Any, str, Any]] = [
    (HTTP, "websocket", 1),
    (HTTP, "rpcx", 1),
    (HTTP, "phobos", 1),
    (HTTP, "grpc_web", 1),
    (HTTP, "connect", 1),
    (HTTP, "json", 1),
    (HTTP, "cors_origins", "https://a.example"),
    (HTTP, "cors_origins", ("a.example",)),
    (HTTP, "cors_origins", ("https://a.example/",)),
    (HTTP, "cors_origins", ("*",)),
    (HTTP, "allowed_hosts", ("a.example:80",)),
    (HTTP, "allowed_hosts", ("a.*.example",)),
    (HTTP, "allowed_hosts", ("*.",)),
    (HTTP, "allowed_hosts", ("**",)),
    (HTTP, "limits", None),
    (HTTP, "mounts", ()),
    (HTTP, "mounts", {"shop": print}),
    (HTTP, "mounts", {"/shop/": print}),
    (HTTP, "mounts", {7: print}),
    (HTTP, "mount_authenticated", "yes"),
    (HTTP, "root_path", "api"),
    (HTTP, "root_path", "/api/"),
    (HTTP, "root_path", "/a/../b"),
    (HTTP, "root_path", "/a b"),
    (HTTP, "root_path", "/a?b"),
    (HTTP, "root_path", None),
    (HTTP, "trusted_proxies", "10.0.0.0/8"),
    (HTTP, "trusted_proxies", ("10.0.0.1/8",)),
    (HTTP, "trusted_proxies", ("proxy.example",)),
    (HTTP, "trusted_proxies", (5,)),
    (HTTP, "compress", 1),
    (HTTP, "openapi", None),
    (HTTP, "openapi", {"title": "a"}),
    (OpenAPI, "title", ""),
    (OpenAPI, "title", 5),
    (OpenAPI, "version", " "),
    (OpenAPI, "description", None),
    (OpenAPI, "servers", "https://a.example"),
    (OpenAPI, "servers", ("a.example",)),
    (OpenAPI, "servers", ("ftp://a.example",)),
    (HTTPLimits, "header_seconds", 0),
    (HTTPLimits, "idle_seconds", None),
    (HTTPLimits, "body_idle_seconds", -1),
    (HTTPLimits, "headers", 0),
    (HTTPLimits, "header_bytes", 10),
    (HTTPLimits, "target_bytes", 0),
]


@pytest.mark.parametrize(("kind", "name", "value"), OUT_OF_RANGE)
def test_wrong_value_is_refused_with_field_and_value(kind: Any, name: str, value: Any) -> None:
    texts = [f"is {value!r}"]
    if isinstance(value, tuple) and value:
        # A wrong entry of a list is named alone.
        texts.append(f"has {value[-1]!r}")
    with pytest.raises(ConfigError, match=f"{kind.__name__}\\.{name} ({'|'.join(map(re.escape, texts))})"):
        kind(**{name: value})


def test_a_wrong_host_is_named_alone() -> None:
    with pytest.raises(ConfigError, match=r"^HTTP\.allowed_hosts has '\.shop\.example', it takes") as refused:
        HTTP(allowed_hosts=("a.example", ".shop.example"))
    assert "a.example'" not in str(refused.value).partition("it takes")[0]
    assert refused.value.hint == "write '*.shop.example'"
