from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack, final

from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.calls.call import MethodRoute
from fastrpc._core.calls.invocation import Chain
from fastrpc._core.wire.settings import WireNumbers
from fastrpc.endpoint import Endpoint
from fastrpc.rpc.options import CallOptions

def split_iterator(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return the arguments of a method known by its name without the iterator among them, and the iterator or None."""

def process_generation() -> int:
    """Return the number of forks between the first process and this one, plus 1."""

class ViewState:
    """The state that a client and its views share, with or without a loop.

    Args:
        resolve: method and codec name -> MethodRoute.
    """

    #: The meaning of codec and compressor numbers in answers.
    numbers: WireNumbers
    compress_above: int
    #: Nanoseconds, 0 = no limit.
    default_timeout_ns: int
    message_limit: int
    #: Checks the arguments of `with_options` and resolves names.
    check: Callable[[dict[str, Any]], dict[str, Any]]
    #: Makes the connections.
    pool: Any
    #: Returns the record that the client's service has of an endpoint; None if no other client uses its connections.
    record_of: Callable[[Endpoint], Endpoint] | None
    #: Whether calls always go through the runner, as for some selectors and fail modes.
    needs_runner: bool
    #: The interceptors: calls that concern one of them go through the runner, too; None without any.
    chain: Chain | None
    #: The hint for calls that a server refuses as unauthenticated, if the client shows no token; else None.
    token_hint: str | None
    #: The class whose views are reused; views of other classes are always made anew.
    kind: type[CallerView]

    def __init__(self, resolve: Callable[[Any, str], MethodRoute]) -> None: ...
    @property
    def runner(self) -> Any:
        """Python's part of the client, for all work that not every call needs."""

    @property
    def endpoint_set(self) -> EndpointSet | None: ...
    @property
    def budget(self) -> RetryBudget: ...
    def routes_of(self, codec: str) -> dict[Any, MethodRoute]:
        """Return the routes of a codec by method; they are added when methods are called."""

@final
class ViewOptions:
    """The options of calls, which never change, and their effect on a call.

    Each is the value given to `with_options`, or None; `codec` and `compressor` are resolved.
    """

    @property
    def shared(self) -> ViewState: ...
    @property
    def codec(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str | bytes] | None: ...
    @property
    def sent_metadata(self) -> bytes | None:
        """The encoded metadata."""

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
    def prefer(self) -> str | None:
        """The address of the endpoint that calls prefer."""

    @property
    def running(self) -> Any:
        """The group of attempts that are cancelled together, or None."""

class CallerView:
    """A client, or a view of it with its own options, which are readable as attributes."""

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
        """Attach to a state, without options."""

    @property
    def _state(self) -> ViewState:
        """The state that the client and its views share."""

    @property
    def _options(self) -> ViewOptions:
        """The options of its calls."""

    @property
    def _is_view(self) -> bool:
        """Whether `with_options` made it."""

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a light view of this client with other options for its calls.

        Options left out are inherited, None removes one; views chain and can be kept. Metadata is merged.

        Args:
            timeout: seconds for one call.
            metadata: text values, or bytes under keys that end in `-bin`.
            codec, compressor: by name.
            priority: 0 normal; 1 sheddable, refused first by a busy server; 2 high, first among its client's calls.
            idempotent: whether the server may run the call twice.
            wait_for_ready: wait within the deadline while no server is reachable.
            fail_mode: the rule for failed attempts, by name or as an object; a SyncClient refuses `"failbackup"`.
            hash_key: calls with the same key use the same endpoint, if the selector uses keys.
            endpoint: the only endpoint to call.
            prefer: the endpoint to call while it is listed and sound, such as `reply.endpoint`.
        """

    def _set_options(self, options: dict[str, Any]) -> None:
        """Set options that `ViewState.check` returned."""

def add_entry(view: CallerView, entry: bytes) -> None:
    """Send an encoded entry of fastrpc itself after the metadata of a view."""

class ServiceCalls:
    """The verb `call` of a client of many services: each method is called by the client of its service.

    A class derived from it has `_call_of(method)`, which returns that verb for a method that `_calls` does not have.
    """

    _calls: dict[Any, Callable[..., Any]]

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method and return its answer, as `call` of the client of its service does."""
