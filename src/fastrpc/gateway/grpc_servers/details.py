"""Details of errors (google.protobuf.Any) as values: by the server's descriptors, or by well-known ones."""

import base64
from collections.abc import Iterator
from functools import cache
from typing import Any

from fastrpc.rpc.protobuf.known_files import ERROR_DETAILS, known_file
from fastrpc.types.any_message import AnyMessage

__all__ = ["shown_details"]


def shown_details(details: Any, pool: Any = None) -> Any:
    """Return details with their messages as values: JSON for known types, bytes in base64 for others.

    Args:
        pool: the descriptors of the server.
    """
    if not isinstance(details, list):
        return details
    return [_shown(one, pool) if isinstance(one, AnyMessage) else one for one in details]


def _shown(detail: AnyMessage, pool: Any) -> dict[str, Any]:
    name = detail.type_url.rpartition("/")[2]
    for one in _pools(pool):
        try:
            found = one.FindMessageTypeByName(name)
        except KeyError:
            continue
        from google.protobuf import json_format
        from google.protobuf.message import DecodeError
        from google.protobuf.message_factory import GetMessageClass

        try:
            values = json_format.MessageToDict(
                GetMessageClass(found).FromString(detail.value), descriptor_pool=one
            )
        except (DecodeError, json_format.Error, TypeError, ValueError):
            break
        return {"@type": detail.type_url, **(values if isinstance(values, dict) else {"value": values})}
    return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}


def _pools(pool: Any) -> Iterator[Any]:
    if pool is not None:
        yield pool
    try:
        from google.protobuf import descriptor_pool
    except ImportError:
        return
    yield descriptor_pool.Default()
    yield _error_details()


@cache
def _error_details() -> Any:
    """Return a pool with the messages of google.rpc that servers put into errors."""
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    for name in ("google/protobuf/duration.proto", ERROR_DETAILS):
        pool.AddSerializedFile(known_file(name))
    return pool
