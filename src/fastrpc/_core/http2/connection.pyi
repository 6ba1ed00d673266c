from fastrpc._core.http2.settings import Http2Settings
from fastrpc._core.io.engine import Engine

class Http2Connection(Engine):
    """The state of one connection of HTTP/2, without input and output."""

    @property
    def is_client(self) -> bool: ...
    @property
    def peer(self) -> Http2Settings:
        """The settings of the peer."""

    @property
    def is_settled(self) -> bool:
        """Whether the settings of the peer came."""

    @property
    def drain_step(self) -> int:
        """The stage of our drain: 0, 1 (announced), 2 (the last stream is named)."""

    @property
    def frame_began_ns(self) -> int:
        """When the incomplete frame or header block began, or 0."""

    @property
    def closed_code(self) -> int:
        """The error code of the GOAWAY that ended the connection; -1 while it lives."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def closed_by_peer(self) -> bool: ...
