"""What a server announces when a connection opens."""

from fastrpc._core.settings import Settings, WireNumbers
from fastrpc._version import __version__
from fastrpc.config import ServerConfig
from fastrpc.rpc.wire_numbers import compressor_list

__all__ = ["server_settings"]


def server_settings(config: ServerConfig, numbers: WireNumbers) -> Settings:
    """Return what a server announces."""
    settings = Settings(True)
    limits = config.limits
    settings.max_frame = limits.frame_bytes
    settings.max_message = limits.message_bytes
    settings.max_metadata = limits.metadata_bytes
    settings.max_calls = limits.concurrent_calls
    settings.max_streams = min(limits.streams, limits.concurrent_calls)
    settings.stream_window = limits.stream_window_bytes
    settings.open_messages = config.memory.open_messages
    settings.codecs = numbers.codecs
    settings.compressors = compressor_list(numbers)
    settings.min_ping_ms = int(config.keepalive.minimum_interval * 1000)
    settings.ping_reply_ms = int(config.keepalive.timeout * 1000)
    settings.agent = f"fastrpc/{__version__}"
    return settings
