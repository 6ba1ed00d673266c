from collections.abc import Mapping
from re import Pattern
from struct import Struct
from typing import Any, Final, final

#: Settings that are numbers, by wire name: attribute, layout, lowest and highest value.
NUMBERS: Final[dict[int, tuple[str, str, int, int]]]
#: Settings that are lists of numbers and names, by wire name: attribute, lowest number.
LISTS: Final[dict[int, tuple[str, int]]]
LIST_LIMIT: Final[int]
AUTH_SCHEMES_LIMIT: Final[int]
AGENT_LIMIT: Final[int]
CLIENT_ID_SIZE: Final[int]
ENTRY: Final[Struct]
NAME: Final[Pattern[bytes]]
ATTRIBUTES: Final[tuple[str, ...]]

@final
class WireNumbers:
    """The meaning of codec and compressor numbers in received frames.

    Numbers from 64 on are the receiver's own: the two sides of a connection may number one codec differently, and
    identify it by name. So a number is looked up when a frame arrives, and translated when one is sent.

    Args:
        codecs: names by number.
        compressors: the objects by number.
    """

    def __init__(self, codecs: Mapping[int, str], compressors: Mapping[int, Any]) -> None: ...
    @property
    def codecs(self) -> dict[int, str]: ...
    @property
    def compressors(self) -> dict[int, Any]: ...
    def codec_label(self, number: int) -> str:
        """Return the name of a codec by its number in frames, for error texts."""

@final
class WireSettings:
    """The settings that one side announces, by the names of PROTOCOL.md, "Settings".

    A new one holds the floor: values so low that every peer can obey them before it has received ours.
    """

    max_frame: int
    max_message: int
    max_metadata: int
    max_calls: int
    max_streams: int
    stream_window: int
    open_messages: int
    min_ping_ms: int
    ping_reply_ms: int
    features: int
    #: Processes of a server that share its connections.
    workers: int
    #: By number; numbers from 64 on are this side's own.
    codecs: dict[int, str]
    compressors: dict[int, str]
    auth_schemes: tuple[str, ...]
    agent: str
    #: The id of a client that serves calls, the same on all of its connections; else empty.
    client_id: bytes

    def __init__(self, of_server: bool) -> None: ...
    def compressor_number(self, number: int, name: str) -> int:
        """Return the number of a compressor in frames to this side, like `codec_number`; -1: not accepted."""

    def copy(self) -> WireSettings: ...
    def encode(self, first: bool = True) -> bytes:
        """Return the body of a SETTINGS frame, with all settings that a first, or a later, SETTINGS may announce."""

def usual_settings(of_server: bool) -> WireSettings:
    """Return the settings of a side with all defaults."""

def decode_settings(body: bytes, first: bool = True) -> tuple[tuple[int, Any], ...]:
    """Parse a SETTINGS body: the known settings, (name, value) in order.

    Lists are tuples; of (id, name) pairs if they have ids. `first`: the peer's first SETTINGS, which may contain
    more settings than later ones.

    Raises:
        ValueError: the body is invalid; the message names the defect.
    """
