"""A protobuf message of any type, as a detail of an error."""

from typing import Any, NamedTuple, TypeVar

__all__ = ["AnyMessage"]

M = TypeVar("M")


class AnyMessage(NamedTuple):
    """A protobuf message whose class is unknown: the URL of its type, and its bytes.

    `fastrpc.grpc.AnyMessage` is this class. In gRPC the details of an error are a list of AnyMessages.
    """

    #: A URL that ends in `/` and the full name of the type, such as `type.googleapis.com/google.rpc.RetryInfo`.
    type_url: str
    value: bytes

    def unpack(self, cls: type[M]) -> M | None:
        """Return the message as an instance of its class; None if it has another type.

        Args:
            cls: a message class of the protobuf package.

        Raises:
            TypeError: this is not a message class.
        """
        message: Any = cls
        try:
            name = message.DESCRIPTOR.full_name
        except AttributeError:
            raise TypeError(f"{cls!r} is not a message class of the protobuf package") from None
        if self.type_url.rpartition("/")[2] != name:
            return None
        found: M = message.FromString(self.value)
        return found
