from typing import Any, final

from fastrpc.config import Keepalive, Timeouts

@final
class ClientLife:
    """The rules by which a connection of a client opens, ages, rests and ends.

    Args:
        owner: the object that is notified; None for threads.
        early_calls: the calls that may leave before the server has answered the opening, as in `ClientConfig`.
    """

    #: Whether the owner is notified of the next call, probes aside.
    announces_calls: bool
    crowd: int

    def __init__(
        self, owner: Any, timeouts: Timeouts, keepalive: Keepalive, early_calls: str = "all"
    ) -> None: ...
    @property
    def owner(self) -> Any: ...
    @property
    def is_aged(self) -> bool:
        """Whether it is older than `Keepalive.max_age`: it takes calls until its successor does, or twice that age."""

    @property
    def is_spent(self) -> bool:
        """Whether a thread found that age or rest had ended it."""

    @property
    def is_dispensable(self) -> bool:
        """Whether no call needed the connection at its end or age: none but probes, or none for `Timeouts.idle`."""

    @property
    def is_retiring(self) -> bool: ...
