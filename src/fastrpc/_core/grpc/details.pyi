from typing import Any, TypeVar, final

_Message = TypeVar("_Message")

#: The beginning of a type URL.
TYPE_PREFIX: str

@final
class AnyMessage:
    """One detail of an error whose type is unknown here: a protobuf message and the name of its type.

    It is made of `google.protobuf.Any`: `type_url` ends in the full name of the type, `value` has the bytes.
    """

    type_url: str
    value: bytes

    def __init__(self, type_url: str, value: bytes) -> None: ...
    def unpack(self, cls: type[_Message]) -> _Message:
        """Return the message as an object of a generated class.

        Raises:
            TypeError: the class has no `FromString`.
            ValueError: the detail is of another type, or its bytes are broken.
        """

    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

def encode_details(status: int, message: str, details: Any) -> bytes | None:
    """Return the google.rpc.Status of an error; None if it has no details, or such that no message can hold.

    Protobuf messages, AnyMessage and lists of them are taken as they are, any other value as one google.protobuf.Value.
    """

def decode_details(data: bytes) -> Any:
    """Return the details in a google.rpc.Status; None for broken bytes or without details.

    One google.protobuf.Value is the plain value that it holds; all else is a list of AnyMessage.
    """
