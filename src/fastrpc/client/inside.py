"""The connections and the state of a client, for other parts of the package; they are not public."""

from typing import TYPE_CHECKING, Protocol, TypeVar

from fastrpc._core.client.caller_state import CallerState

if TYPE_CHECKING:
    from fastrpc.client.client import Client

__all__ = ["dial_for_calls", "pool_of", "state_of"]

P_co = TypeVar("P_co", covariant=True)


class _Client(Protocol[P_co]):
    @property
    def _pool(self) -> P_co: ...


class _Stateful(Protocol):
    @property
    def _state(self) -> CallerState: ...


def pool_of(client: _Client[P_co]) -> P_co:
    """Return the connections of a client."""
    return client._pool


def state_of(client: _Stateful) -> CallerState:
    """Return the state that the views of a client share."""
    return client._state


def dial_for_calls(client: "Client") -> None:
    """Make a client redial an unreachable server only for a call, and only after the pause of its backoff.

    This is for callers that pause for longer than the client: by itself the client would redial after each of its
    shorter pauses.
    """
    pool_of(client).redials = False
