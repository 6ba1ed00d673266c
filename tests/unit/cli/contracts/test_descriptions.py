"""How the command line reads what a server tells of its services."""

from typing import Any

import pytest

from fastrpc.cli.contracts.descriptions import read_descriptions
from fastrpc.errors import DecodeError

#: The least that a server tells.
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
