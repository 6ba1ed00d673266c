from typing import Any, final

from fastrpc._core.payload.arguments import ArgumentShape, BoundArguments
from fastrpc._core.payload.coders import PayloadCoders

@final
class Marshal:
    """Encodes and decodes arguments and results of one method, by one codec.

    Safe to use from several threads. `shape` is None for a method known only by its name. `depth` and
    `items` are the limits of the scan that a payload passes before any object of it exists.

    Args: by_value: for protocols whose payload is one value: "whole": it is the only argument; "named": it is a map of
        the arguments by name; "either": a map is taken as "named", anything else as "whole".
    """

    method: str
    codec_id: int
    shape: ArgumentShape | None
    coders: PayloadCoders
    charge: int
    """Bytes to charge for the arguments or the message decoded last.

    The payload's own bytes, 72 for each scanned container, and the growth of long texts.
    """
    was_opened: bool
    """Whether the arguments decoded last, by name, were accepted as a map: a refusal is about its parts."""

    by_name: bool
    """Whether arguments are a map by name alone, in which each name comes once."""

    def __init__(
        self,
        method: str,
        shape: ArgumentShape | None,
        coders: PayloadCoders,
        *,
        depth: int,
        items: int,
        by_value: str | None = None,
        by_name: bool = False,
    ) -> None: ...
    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bytes:
        """Return the payload of a call.

        Raises:
            TypeError: the arguments do not fit the signature; worded as for a local call.
            EncodeError: an argument cannot be encoded; the message names it.
        """

    def decode_arguments(self, payload: bytes | bytearray | memoryview) -> tuple[Any, ...] | BoundArguments:
        """Return the arguments for the handler. Missing arguments are left to the handler's defaults.

        Raises:
            CallError: INVALID_ARGUMENT naming the parameter and the expected type, or RESOURCE_EXHAUSTED; `processed`
                is "no".
        """

    def encode_result(self, value: Any) -> bytes:
        """Return the payload of a result or of one message of the server's stream, or raise EncodeError."""

    def decode_result(self, payload: bytes | bytearray | memoryview) -> Any:
        """Return a result or one message of the server's stream; DecodeError names method and place."""

    def encode_message(self, value: Any) -> bytes:
        """Return the payload of one message of the caller's stream; EncodeError names the method."""

    def decode_message(self, payload: bytes | bytearray | memoryview) -> Any:
        """Return one message of the caller's stream; CallError INVALID_ARGUMENT names the expected type."""
