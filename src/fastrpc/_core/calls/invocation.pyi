from collections.abc import Callable
from typing import Any

from fastrpc._core.calls.call import Call
from fastrpc._core.payload.arguments import BoundArguments

def invoke(handler: Callable[..., Any], given: tuple[Any, ...] | bytes | BoundArguments) -> Any:
    """Call a handler with its decoded arguments."""

def run_handler(
    call: Call, handler: Callable[..., Any], given: tuple[Any, ...] | bytes | BoundArguments
) -> Any:
    """Call a handler as the handler of `call`: `current_call()` works in it."""
