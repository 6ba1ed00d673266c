"""The wire numbers of the codecs and compressors that one side of a connection accepts.

Numbers below 64 are fixed; each side chooses and announces further numbers. Only the code that reads and writes frames
uses numbers. Elsewhere a codec is the name in its marshal, and a compressor is an object.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fastrpc._core.wire.settings import LIST_LIMIT, WireNumbers, WireSettings
from fastrpc._version import __version__
from fastrpc.codecs.base import codec_number, codec_numbers
from fastrpc.compressors.base import compressor_numbers
from fastrpc.errors import ConfigError

if TYPE_CHECKING:
    from fastrpc.config import ClientConfig, ServerConfig

__all__ = ["announced", "compressor_list", "numbers_of", "numbers_of_all"]


def numbers_of(codecs: Iterable[str]) -> WireNumbers:
    """Return the numbers of some codecs, and of all installed compressors.

    Raises:
        ConfigError: a codec is unknown, or there are too many codecs to announce.
    """
    named = {codec_number(name): name for name in codecs}
    if len(named) > LIST_LIMIT:
        raise ConfigError(f"{len(named)} codecs are to be accepted, {LIST_LIMIT} can be announced")
    return WireNumbers(named, dict(list(compressor_numbers().items())[:LIST_LIMIT]))


def numbers_of_all() -> WireNumbers:
    """Return the numbers of all installed codecs and compressors, which a client accepts in answers."""
    return numbers_of(list(codec_numbers().values())[:LIST_LIMIT])


def compressor_list(numbers: WireNumbers) -> dict[int, str]:
    """Return the names of compressors by number, for the announcement."""
    return {number: compressor.name for number, compressor in numbers.compressors.items()}


def announced(
    settings: WireSettings, config: "ClientConfig | ServerConfig", numbers: WireNumbers
) -> WireSettings:
    """Set the settings that clients and servers have in common; return `settings`."""
    limits = config.limits
    settings.max_frame = limits.frame_bytes
    settings.max_message = limits.message_bytes
    settings.max_metadata = limits.metadata_bytes
    settings.stream_window = limits.stream_window_bytes
    settings.codecs, settings.compressors = numbers.codecs, compressor_list(numbers)
    settings.min_ping_ms = int(config.keepalive.minimum_interval * 1000)
    settings.ping_reply_ms = int(config.keepalive.timeout * 1000)
    settings.agent = f"fastrpc/{__version__}"
    return settings
