from typing import Any, Literal

from fastrpc._core.io.engine import Engine
from fastrpc._core.loop.loop_state import LoopState
from fastrpc._core.wire.settings import WireSettings

class PartsOwner(Engine):
    """The state that the parts of a connection share, and the methods that they call."""

    @property
    def peer(self) -> WireSettings:
        """The settings of the peer; the floor of the limits until its SETTINGS came."""

    @property
    def ours(self) -> WireSettings:
        """The settings that we announced last."""

    @property
    def connection(self) -> Any:
        """The served connection, or None if this side serves no calls."""

    @property
    def peer_takes(self) -> Literal["calls"] | None:
        """Whether the peer's settings allow calls of ours: "calls", or None."""

    @property
    def loop_state(self) -> LoopState:
        """The loop that watches the deadlines of calls; None for a connection of a `SyncClient`."""

    @property
    def is_usable(self) -> bool:
        """Whether our calls may go out on it: connected, and the peer takes new ones."""

    @property
    def closed_reason(self) -> int:
        """The GOAWAY reason that ended it; -1 while it lives."""

    @property
    def closed_text(self) -> str | None: ...
    @property
    def closed_by_peer(self) -> bool: ...
    @property
    def peer_replaces(self) -> bool:
        """Whether the peer asks for another connection instead: its GOAWAY starts a drain."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler: UNAVAILABLE, for this reason."""

    @property
    def open_messages(self) -> int:
        """Unfinished messages of each kind that the peer may have at a time."""

    @property
    def is_client(self) -> bool: ...
    @property
    def peer_drains(self) -> bool:
        """Whether the peer takes no new calls on this connection."""
    @property
    def phase(self) -> int:
        """The stage of the opening: 0 preface, 1 SETTINGS, 2 open, 3 closed."""

    @property
    def drain_step(self) -> int:
        """The stage of our own drain: 0 none, 1 announced, 2 the last call is named."""

    @property
    def peer_last_id(self) -> int:
        """The last call of ours that the peer takes, once its GOAWAY named it."""

    @property
    def peer_sent_final(self) -> bool: ...
    @property
    def auth_status(self) -> int:
        """The status of the server's last verdict on our credential; -1 before there is one."""

    @property
    def auth_text(self) -> str | None:
        """The text of the verdict on our credential."""

    @property
    def auth_valid_seconds(self) -> int:
        """The seconds for which the credential is valid; 0: as long as the connection lasts."""
