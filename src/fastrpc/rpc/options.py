"""The options of `with_options` for type checkers and editors, and the error for entering or closing a view."""

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

    #: The most seconds for one call. In a handler, the deadline of the handler's own call applies too.
    timeout: float | None
    #: Text, or bytes under keys that end in `-bin`. Inherited entries are kept.
    metadata: Mapping[str, str] | Mapping[str, bytes] | Mapping[str, str | bytes] | None
    #: The name of the codec: "msgpack", "json", …
    codec: str | None
    #: The name of the compressor, such as "zstd".
    compressor: str | None
    #: 0 is normal. 1 is sheddable: the call waits until all other calls have started, and a busy server refuses it
    #: first. 2 is high: the call is sent before other calls of this client. Messages above 16 KiB take turns, whatever
    #: their priority. A server treats 2 as 0 unless its policy allows 2. Calls that a handler makes do not inherit the
    #: priority.
    priority: int
    #: True if the server may run the call twice. The default is the method's option.
    idempotent: bool | None
    #: True to wait, up to the deadline, while no server can be reached.
    wait_for_ready: bool
    #: The fail mode: a name, or an object of `fastrpc.failmodes`.
    fail_mode: Any
    #: Calls with the same key use the same endpoint.
    hash_key: str | bytes | int | None
    #: Send to this endpoint only.
    endpoint: str | Address | Endpoint | None
    #: Send to this endpoint while it is listed and healthy, otherwise to the endpoint that the selector picks. An
    #: address given as text is never dialled while it is not listed.
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
    """Raise TypeError for a view: it shares the connections of its client and is closed with the client."""
    if is_view:
        raise TypeError(f"a view made by with_options() cannot be {what}; use the client itself")
