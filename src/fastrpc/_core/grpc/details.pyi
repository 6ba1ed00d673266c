from typing import Any

from fastrpc.types.any_message import AnyMessage

#: The beginning of a type URL.
TYPE_PREFIX: str

def encode_details(status: int, message: str, details: Any) -> bytes | None:
    """Return the google.rpc.Status of an error; None if it has no details, or details that no message can hold.

    Protobuf messages, AnyMessage and lists of them are taken as they are, any other value as one google.protobuf.Value.
    """

def decode_details(data: bytes) -> Any:
    """Return the details in a google.rpc.Status; None for broken bytes or without details.

    A single google.protobuf.Value is returned as its plain value, anything else as a list of AnyMessage.
    """

def messages_in(data: bytes) -> list[AnyMessage]:
    """Return the messages in a google.rpc.Status.

    Raises:
        ValueError, OverflowError: the bytes are broken.
    """
