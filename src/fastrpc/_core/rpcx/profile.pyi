from typing import Final, final

@final
class Profile:
    """One of the protocols with these frames."""

    def __init__(
        self, name: str, magic: int, *, closes_on_refusal: bool, compresses_answers: bool
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def magic(self) -> int: ...
    @property
    def error_key(self) -> bytes: ...
    @property
    def closes_on_refusal(self) -> bool: ...
    @property
    def compresses_answers(self) -> bool: ...

RPCX: Final[Profile]
PHOBOS: Final[Profile]
