"""The checks of a server's settings, and the settings that each connection announces."""

from typing import Any

from fastrpc._core.wire.settings import WireNumbers, WireSettings
from fastrpc.codecs.base import codec_number
from fastrpc.config import HTTP, ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.rpc.wire_numbers import announced

__all__ = ["checked_config", "server_settings"]


def checked_config(config: Any) -> ServerConfig:
    """Return the settings of a server; the defaults for None.

    Raises:
        ConfigError: the settings have a wrong type, name an unknown codec, or set `http` although HTTP is not served.
            `ServerConfig` itself cannot check this: the command line and the environment may add protocols to the
            settings of an App, and other packages install codecs.
    """
    if config is None:
        return ServerConfig()
    if not isinstance(config, ServerConfig):
        raise ConfigError(
            f"config is a {type(config).__name__}, it must be a ServerConfig",
            hint="write config=ServerConfig(…)",
        )
    if "http" not in config.protocols and config.http != _by_grpc(config):
        names = ", ".join(f'"{name}"' for name in (*config.protocols, "http"))
        raise ConfigError(
            f"ServerConfig.http is set, and HTTP is not served: protocols is {config.protocols!r}",
            hint=f"write protocols=({names}); under fastrpc run FASTRPC_PROTOCOLS sets them as well",
        )
    for name in config.codecs:
        try:
            codec_number(name)
        except ConfigError as error:
            raise ConfigError(f"ServerConfig.codecs: {error.message}", hint=error.hint) from None
    return config


def _by_grpc(config: ServerConfig) -> HTTP:
    """Return the HTTP settings that a server without the protocol "http" may have: for gRPC, gRPC-Web and Connect."""
    http = config.http
    trusted = http.trusted_proxies if "grpc" in config.protocols else ()
    if not (http.grpc_web or http.connect):
        return HTTP(trusted_proxies=trusted)
    return HTTP(
        grpc_web=http.grpc_web,
        connect=http.connect,
        cors_origins=http.cors_origins,
        allowed_hosts=http.allowed_hosts,
        trusted_proxies=trusted,
        limits=http.limits,
    )


def server_settings(config: ServerConfig, numbers: WireNumbers) -> WireSettings:
    """Return the settings that a server announces."""
    settings, limits = announced(WireSettings(True), config, numbers), config.limits
    settings.max_calls = limits.concurrent_calls
    settings.max_streams = min(limits.streams, limits.concurrent_calls)
    settings.open_messages = config.memory.open_messages
    return settings
