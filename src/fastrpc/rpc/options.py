"""The options of `with_options`, for type checkers and editors, and the refusal to enter or close a view."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from fastrpc._core.payload.metadata import Metadata
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError

__all__ = ["OPTION_NAMES", "CallOptions", "refuse_view", "with_checked_kinds"]

_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "metadata": ((Mapping,), "a mapping"),
    "idempotent": ((bool,), "True or False"),
    "wait_for_ready": ((bool,), "True or False"),
    "hash_key": ((str, bytes, int), "text, bytes or a whole number"),
}


class CallOptions(TypedDict, total=False):
    """The options of a view of a client. A missing option is inherited, None unsets it."""

    #: Seconds for one call; the caller's own deadline caps it.
    timeout: float | None
    #: Text, or bytes under keys that end in `-bin`; merged with inherited entries.
    metadata: Mapping[str, str] | Mapping[str, bytes] | Mapping[str, str | bytes] | None
    #: The name of the codec: "msgpack", "json", …
    codec: str | None
    #: The name of the compressor, such as "zstd".
    compressor: str | None
    #: 0 is normal. 1 is sheddable: such a call waits until all others have started, and a busy server refuses it first.
    #: 2 is high: first among the calls of this client. Messages above 16 KiB take turns, for any priority. A server
    #: counts 2 as 0, unless its policy allows it. Calls made by a handler do not inherit it.
    priority: int
    #: Whether the server may run the call twice; by default the method's option.
    idempotent: bool | None
    #: Whether to wait, up to the deadline, while no server can be reached.
    wait_for_ready: bool
    #: The fail mode: a name, or an object of `fastrpc.failmodes`.
    fail_mode: Any
    #: Calls with the same key use the same endpoint.
    hash_key: str | bytes | int | None
    #: Send to this endpoint only.
    endpoint: str | Address | Endpoint | None
    #: Send to this endpoint while it is listed and sound, otherwise to the endpoint that the selector picks. A text
    #: that is not listed is never dialled.
    prefer: str | Address | Endpoint | None


#: The names of the options.
OPTION_NAMES: Final = frozenset(CallOptions.__annotations__)


def with_checked_kinds(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked copy of options, with text and binary metadata in one mapping.

    Raises:
        ConfigError: an option has the wrong type; the message names it.
    """
    checked = dict(options)
    for name, (kinds, wanted) in _KINDS.items():
        value = checked.get(name)
        if value is not None and not isinstance(value, kinds):
            raise ConfigError(f"{name} is {value!r}, it must be {wanted}, or None")
    if isinstance(checked.get("metadata"), Metadata):
        checked["metadata"] = checked["metadata"].entries
    return checked


def refuse_view(is_view: bool, what: str) -> None:
    """Raise TypeError for a view, which shares the connections of its client and ends with it."""
    if is_view:
        raise TypeError(f"a view made by with_options() cannot be {what}; use the client itself")
