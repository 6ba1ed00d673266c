"""The checks of a server's settings, and the part of them that each connection announces."""

from typing import Any

from fastrpc._core.framing.settings import Settings, WireNumbers
from fastrpc.config import ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.rpc.wire_numbers import announced

__all__ = ["checked_config", "server_settings"]


def checked_config(config: Any) -> ServerConfig:
    """Return the settings of a server after checking their type."""
    if not isinstance(config, ServerConfig):
        raise ConfigError(
            f"config is a {type(config).__name__}, it must be a ServerConfig",
            hint="write config=ServerConfig(…)",
        )
    return config


def server_settings(config: ServerConfig, numbers: WireNumbers) -> Settings:
    """Return the settings that a server announces."""
    settings, limits = announced(Settings(True), config, numbers), config.limits
    settings.max_calls = limits.concurrent_calls
    settings.max_streams = min(limits.streams, limits.concurrent_calls)
    settings.open_messages = config.memory.open_messages
    return settings
