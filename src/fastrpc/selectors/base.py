"""The interface of selectors, their look-up by name, and the adapter for custom selectors.

Round robin and smooth weighting keep their position when the endpoints change. While connections are opened and closed
the list changes many times a second, and a restart would give some endpoints a multiple of their share. If a picked
endpoint has no connection, the pick is undone, so that even the first calls of a client follow the sequence.
"""

import itertools
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

from fastrpc._core.balancing.hash_ring import key_hash
from fastrpc._core.balancing.selectors import BaseSelector, UserSelector
from fastrpc._core.payload.metadata import Metadata
from fastrpc.config.built_in import built_in
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError

__all__ = [
    "DEFAULT",
    "ClientName",
    "Filter",
    "Selector",
    "check_entries",
    "inner_selector",
    "selector_for",
    "selector_names",
]

logger = logging.getLogger("fastrpc.client")

#: The selector of a client that names no selector.
DEFAULT = "round_robin"

# name -> (module, class). Imported on first use.
_BUILT_IN = {
    "random": ("fastrpc.selectors.random", "Random"),
    "round_robin": ("fastrpc.selectors.round_robin", "RoundRobin"),
    "weighted": ("fastrpc.selectors.smooth_weighted", "SmoothWeighted"),
    "consistent_hash": ("fastrpc.selectors.consistent_hash", "ConsistentHash"),
    "least_loaded": ("fastrpc.selectors.least_loaded", "LeastLoaded"),
    "jump_hash": ("fastrpc.selectors.jump_hash", "JumpHash"),
    "double_jump": ("fastrpc.selectors.jump_hash", "DoubleJump"),
}

_METHODS = ("update", "pick", "observe")

#: Seconds between two records about exceptions of one selector.
_LOG_SECONDS = 60.0

#: A function that selects endpoints. It gets the endpoints in order, and a function that returns whether one is
#: healthy.
Filter: TypeAlias = Callable[[Sequence[Endpoint], Callable[[Endpoint], bool]], Sequence[Endpoint]]


class Selector(Protocol):
    """Chooses the endpoint of the next attempt.

    The methods are called from the loop of the client, or from every thread that uses a SyncClient, and must not block.
    """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints; called when the registry or the health of an endpoint changes."""
        ...

    def pick(self, call: Any) -> Endpoint:
        """Return one of the endpoints; there is at least one.

        It may be called again if that endpoint was already tried for this call. `call` is the interceptors' call; its
        `hash_key` is from `with_options(hash_key=)`, or None.
        """
        ...

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        """Record the outcome of an attempt. Called once per attempt, in any order.

        An exception does not affect the call. It is logged, at most once a minute.
        """
        ...


#: The numbers in the generated names of clients.
_NUMBERS = itertools.count()


class ClientName:
    """The name of a client. Each name orders endpoints differently (rendezvous hashing).

    Args:
        name: None generates a name of host, process and a number, which changes after a fork.

    Raises:
        ConfigError: the name cannot be a key.
    """

    __slots__ = ("_given", "_number")

    def __init__(self, name: str | bytes | int | None) -> None:
        self._given = None if name is None else key_hash(name)
        self._number = next(_NUMBERS)

    @property
    def hash(self) -> int:
        """The 64-bit hash of the name."""
        if self._given is not None:
            return self._given
        return key_hash(f"{socket.gethostname()} {os.getpid()} {self._number}")

    def ranked(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Return endpoints in this client's order of preference."""
        own = f"{self.hash:x}"

        def rank(endpoint: Endpoint) -> tuple[int, str]:
            address = endpoint.address.place
            return key_hash(f"{own} {address}"), address

        return sorted(endpoints, key=rank)

    def share(self, text: str) -> float:
        """Return a number from 0 to 1 for a text. It differs among clients, so that a share of them can be chosen."""
        return key_hash(f"{self.hash:x} share {text}") / 2.0**64


def selector_names() -> list[str]:
    """Return the names of the built-in selectors."""
    return list(_BUILT_IN)


def inner_selector(choice: BaseSelector | str) -> BaseSelector:
    """Return the inner selector for a wrapping selector of one client.

    Raises:
        ConfigError: the choice is neither a name nor an object of `fastrpc.selectors`.
    """
    found = selector_for(choice)
    if isinstance(found, UserSelector) or choice is None:
        raise ConfigError(
            f"inner is {choice!r}, which cannot be inside another selector",
            hint="give a name, or an object of fastrpc.selectors",
        )
    return found.claimed()


def check_entries(by: str | None, when: Mapping[str, str] | None) -> None:
    """Refuse metadata entries that no call can have or that selectors cannot read.

    Raises:
        ConfigError: a call cannot have this key or value.
    """
    entries = [] if by is None else [("by", by, "")]
    if isinstance(when, Mapping):
        entries += [("when", name, value) for name, value in when.items()]
    for option, name, value in entries:
        try:
            Metadata()[name] = value
        except (TypeError, ValueError) as error:
            hint = "selectors read entries of text, whose keys have small letters"
            raise ConfigError(f"{option}: {error}", hint=hint) from None


def selector_for(choice: Selector | str | None) -> BaseSelector:
    """Return the selector of a client, given an object, a name or None.

    Raises:
        ConfigError: the name is unknown, or the object lacks methods of a selector.
    """
    if choice is None:
        choice = DEFAULT
    if isinstance(choice, str):
        return cast(BaseSelector, built_in("selector", choice, _BUILT_IN))
    if isinstance(choice, BaseSelector):
        # Only unchanged classes: the compiled picks would bypass methods that a subclass overrides.
        is_ours = all(getattr(type(choice), name) is getattr(BaseSelector, name) for name in _METHODS)
        return choice if is_ours else _adapted(choice)
    missing = [name for name in _METHODS if not callable(getattr(choice, name, None))]
    if missing or isinstance(choice, type):
        raise ConfigError(
            f"selector is {choice!r}, "
            + (f"it has no {', '.join(missing)}" if missing else "a class and not an object"),
            hint="give a name, an object of fastrpc.selectors, or one with update, pick and observe",
        )
    return _adapted(choice)


def _adapted(choice: Selector) -> UserSelector:
    return UserSelector(choice, _ObserveLog(type(choice).__name__).note)


class _ObserveLog:
    """Logs exceptions of a custom selector's `observe`: the first immediately, then once a minute with their number."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._untold = 0
        self._told_at = -math.inf

    def note(self, error: Exception) -> None:
        """Note an exception."""
        self._untold += 1
        now = time.monotonic()
        if now >= self._told_at + _LOG_SECONDS:
            count, self._untold, self._told_at = self._untold, 0, now
            text = (
                "%s.observe did not record the outcome of an attempt (outcomes since this was last told: %d)"
            )
            logger.error(text, self._name, count, exc_info=error)
