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
ENTRY: Final[Struct]
NAME: Final[Pattern[bytes]]
ATTRIBUTES: Final[tuple[str, ...]]

@final
class WireNumbers:
    """What the numbers in the frames that we receive stand for.

    Numbers from 64 on are the receiver's own: the two sides of a connection may number one codec differently, and know
    it by its name. So a number is looked up where a frame comes in, and translated where one goes out.

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
        """How people call a codec that a frame names by its number."""

@final
class Settings:
    """What one side of a connection accepts from the other, by the names of PROTOCOL.md, "Settings".

    A new one holds the floor: values so low that every peer can keep them before it has heard ours.
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
    #: By number; those from 64 on are this side's own.
    codecs: dict[int, str]
    compressors: dict[int, str]
    auth_schemes: tuple[str, ...]
    agent: str

    def __init__(self, of_server: bool) -> None: ...
    def copy(self) -> Settings: ...
    def encode(self, first: bool = True) -> bytes:
        """Return the body of a SETTINGS frame that announces everything a first one, or a later one, may."""

def usual_settings(of_server: bool) -> Settings:
    """Return what a side announces that leaves every setting at its default."""

def decode_settings(body: bytes, first: bool = True) -> tuple[tuple[int, Any], ...]:
    """Read a SETTINGS body: the known settings, (name, value) in their order.

    Lists are tuples; of (id, name) pairs where they have ids. `first`: it is the peer's first SETTINGS, which may say
    what later ones may not.

    Raises:
        ValueError: something is wrong with it; the message says what.
    """
