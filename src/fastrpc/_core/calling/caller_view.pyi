from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack, final

from fastrpc._core.calls.call import Route
from fastrpc._core.framing.settings import WireNumbers
from fastrpc.rpc.options import CallOptions

def split_iterator(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return the arguments of a method known by its name without the iterator among them, and that or None."""

def process_generation() -> int:
    """Return how many forks this process is away from the first one, and 1."""

class ViewState:
    """What a client and its views share, with a loop or without.

    Args:
        resolve: method and codec name -> Route.
    """

    #: What numbers in answers stand for.
    numbers: WireNumbers
    compress_above: int
    #: Nanoseconds, 0 = no limit.
    default_timeout_ns: int
    message_limit: int
    #: Checks what `with_options` was given and resolves names.
    check: Callable[[dict[str, Any]], dict[str, Any]]
    #: Makes the connections.
    pool: Any
    #: The class whose views are used again; others are made anew each time.
    kind: type[CallerView]

    def __init__(self, resolve: Callable[[Any, str], Route]) -> None: ...
    def routes_of(self, codec: str) -> dict[Any, Route]:
        """Return the routes of a codec by method; they fill as methods are called."""

@final
class ViewOptions:
    """The options of calls, and what they do to one. They never change.

    They are what `with_options` was given, or None; `codec` and `compressor` as they are used.
    """

    @property
    def shared(self) -> ViewState: ...
    @property
    def codec(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str | bytes] | None: ...
    @property
    def sent_metadata(self) -> bytes | None:
        """The metadata as it goes out."""

    @property
    def compressor(self) -> Any: ...
    @property
    def priority(self) -> int: ...
    @property
    def idempotent(self) -> bool | None: ...
    @property
    def wait_for_ready(self) -> bool: ...
    @property
    def fail_mode(self) -> Any: ...
    @property
    def endpoint(self) -> Any: ...
    @property
    def running(self) -> Any:
        """Where attempts are noted that end together, or None."""

class CallerView:
    """One way of calling: a client, or a view of it with options of its own, which can be read one by one, too."""

    @property
    def hash_key(self) -> str | bytes | int | None: ...
    @property
    def codec(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str | bytes] | None: ...
    @property
    def compressor(self) -> Any: ...
    @property
    def priority(self) -> int: ...
    @property
    def idempotent(self) -> bool | None: ...
    @property
    def wait_for_ready(self) -> bool: ...
    @property
    def fail_mode(self) -> Any: ...
    @property
    def endpoint(self) -> Any: ...
    def _share(self, state: ViewState, codec: str) -> None:
        """Become the front of a state, with no options of its own."""

    @property
    def _options(self) -> ViewOptions:
        """The options of its calls."""

    @property
    def _is_view(self) -> bool:
        """Whether `with_options` made it."""

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a light view of this client whose calls differ in what is given here.

        What is left out is inherited, None means none; views chain and can be kept. Metadata is merged.

        Args:
            timeout: seconds for one call.
            metadata: text values, or bytes under keys that end in `-bin`.
            codec, compressor: by name.
            priority: 0 normal, 1 sheddable, 2 high; not yet: anything but 0 is refused.
            idempotent: whether the server may run the call twice.
            wait_for_ready: wait, deadline running, while no server can be reached.
            fail_mode: what follows a failed attempt, by name or as an object; a SyncClient refuses `"failbackup"`.
            hash_key: calls with the same key go to the same endpoint, if the selector looks at keys.
            endpoint: the one to call, and no other.
        """

    def _set_options(self, options: dict[str, Any]) -> None:
        """Take options over that `ViewState.check` returned."""
