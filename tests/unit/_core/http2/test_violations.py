"""The table of the rules that a peer can break: complete, with a code of RFC 9113 and a text for each."""

import re

import pytest
from h2.errors import ErrorCodes

from fastrpc_harness.http2_blocks import Http2ViolationError, violation_rows
from tests.support.source_tree import PACKAGE

ROWS = violation_rows()


def rules() -> list[str]:
    text = (PACKAGE / "_core" / "http2" / "frames.pxd").read_text(encoding="utf-8")
    return re.findall(r"^    (RULE_\w+)", text, re.MULTILINE)


def test_each_rule_has_a_row() -> None:
    names = rules()
    assert names[0] == "RULE_NONE"
    assert names[-1] == "RULE_COUNT"
    assert sorted(ROWS) == list(range(1, len(names) - 1))


@pytest.mark.parametrize("rule", ROWS, ids=dict(enumerate(rules())).get)
def test_each_row_has_a_code_and_a_text(rule: int) -> None:
    is_of_connection, code, text = ROWS[rule]
    error = Http2ViolationError(rule, text)
    assert (error.is_of_connection, error.code, error.rule) == (is_of_connection, ErrorCodes(code), rule)
    assert len(str(error)) > 10
    assert "{" not in str(error)


def test_rules_of_a_stream_have_the_codes_of_streams() -> None:
    codes = {ErrorCodes(code).name for is_of_connection, code, _ in ROWS.values() if not is_of_connection}
    assert codes == {
        "PROTOCOL_ERROR",
        "FLOW_CONTROL_ERROR",
        "FRAME_SIZE_ERROR",
        "STREAM_CLOSED",
        "REFUSED_STREAM",
    }
