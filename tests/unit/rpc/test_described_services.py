"""A server describes its services, and may be hostile."""

from typing import Any

import pytest

from fastrpc.errors import DecodeError
from fastrpc.rpc.described_services import read_descriptions

#: The smallest description that a server sends.
SERVICE: dict[str, Any] = {"name": "s", "version": None, "documentation": "", "methods": []}


def test_a_server_that_hid_its_types_by_an_empty_object_is_read() -> None:
    services = read_descriptions(
        [SERVICE | {"types": {}}, SERVICE | {"types": [{"name": "A", "kind": "enum"}]}], "x"
    )
    assert [[one.name for one in service.types] for service in services] == [[], ["A"]]


@pytest.mark.parametrize(
    "value", [None, 1, {}, [1], [{}], [SERVICE | {"types": {"a": 1}}], [SERVICE | {"types": 1}]]
)
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(DecodeError, match="x does not describe its services as fastrpc does"):
        read_descriptions(value, "x")
