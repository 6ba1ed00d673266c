"""Types at a gateway, as reflection writes them: plain ones are known, others pass unchanged."""

from typing import Any

import msgspec
import pytest

from fastrpc.gateway.forwarded_types import annotation_of, described_methods
from fastrpc.rpc.described_services import read_descriptions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", int),
        ("None", None),
        ("str | None", str | None),
        ("None | list[bytes]", None | list[bytes]),
        ("set[int]", list[int]),
        ("dict[str, list[float]]", dict[str, list[float]]),
        *(
            (text, msgspec.Raw)
            for text in (
                "Book",
                "list[Book]",
                "int | str",
                "int | None | str",
                "dict[int, str]",
                "tuple[int, ...]",
                "Literal['a']",
                "datetime.datetime",
                "__import__('os').system('true')",
                "int if True else str",
                "list[",
                "",
                "list[" * 300 + "int" + "]" * 300,
            )
        ),
    ],
)
def test_a_type_made_of_plain_types_is_known(text: str, expected: Any) -> None:
    assert annotation_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("(1, 2)", (1, 2)),
        ("[]", ...),
        ("{'a': 1}", ...),
        ("Color.RED", ...),
        ("...", ...),
        ("1 +", ...),
    ],
)
def test_no_call_can_change_a_default(text: str, expected: Any) -> None:
    parameter = {"name": "a", "type": "int", "required": False, "default": text}
    method: dict[str, Any] = {
        "name": "f",
        "full_name": "s.f",
        "signature": "",
        "documentation": "",
        "kind": "unary",
    }
    method |= {"parameters": [parameter], "result": "int"}
    service = {"name": "s", "version": None, "documentation": "", "methods": [method]}
    described = described_methods(read_descriptions([service], "a test")[0])
    assert described[0].parameters[0].default == expected
