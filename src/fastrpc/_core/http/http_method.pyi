from collections.abc import Callable
from typing import Any, final

from fastrpc._core.calls.call import MethodRoute

@final
class HttpMethod:
    """A method as the gateway knows it.

    Args:
        is_safe: whether it may be called by GET.
        is_protobuf: whether its payloads are protobuf, which HTTP does not carry.
        marshal_of: returns the marshal for "json" or "msgpack"; CallError where the codec cannot carry its types.
        arguments_of: returns the arguments in a query, as JSON by name.
    """

    def __init__(
        self,
        route: MethodRoute,
        marshal_of: Callable[[str], Any],
        arguments_of: Callable[[str], bytes],
        *,
        is_safe: bool,
        is_protobuf: bool = False,
    ) -> None: ...
    @property
    def route(self) -> MethodRoute: ...
    @property
    def is_safe(self) -> bool: ...
    @property
    def is_protobuf(self) -> bool: ...
