from typing import Final, final

@final
class Profile:
    """One of the protocols that use these frames."""

    def __init__(
        self,
        name: str,
        magic: int,
        *,
        closes_on_refusal: bool,
        compresses: bool,
        states_deadlines: bool,
        proves_heartbeats: bool,
        is_loose: bool,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def magic(self) -> int: ...
    @property
    def checked_magic(self) -> int: ...
    @property
    def error_key(self) -> bytes: ...
    @property
    def unknown_names(self) -> tuple[bytes, bytes]: ...
    @property
    def closes_on_refusal(self) -> bool: ...
    @property
    def compresses(self) -> bool: ...
    @property
    def states_deadlines(self) -> bool: ...
    @property
    def proves_heartbeats(self) -> bool: ...
    @property
    def is_loose(self) -> bool: ...

RPCX: Final[Profile]
PHOBOS: Final[Profile]
