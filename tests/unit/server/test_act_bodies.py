"""The bodies of acts: known keys with values of their kinds, each once; mistakes are named without the body."""

import pytest

from fastrpc.server.admin.acts import ACTS, ActRefusedError, values_of

pytestmark = pytest.mark.one_loop


def test_a_body_of_the_act_is_taken() -> None:
    values = {"service": "é", "serving": False, "was": True}
    body = '{"service": "\\u00e9", "serving": false, "was": true}'
    assert values_of(ACTS["serving"], body.encode()) == values


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body is not JSON in which each key is given once"),
        (b"{", "the body is not JSON in which each key is given once"),
        (b"\xff{}", "the body is not JSON in which each key is given once"),
        (b"[" * 4_000, "the body is not JSON in which each key is given once"),
        (
            b'{"service": "", "serving": false, "was": true, "was": true}',
            "the body is not JSON in which each key is given once",
        ),
        (b"[]", "the body must be an object"),
        (b'{"service": "", "serving": false}', "missing: was"),
        (
            b'{"service": "", "serving": false, "was": true, "b": 1, "a": 2}',
            "unknown: a, b",
        ),
        (
            b'{"service": 5, "serving": "no", "was": 1}',
            "service must be a text; serving must be true or false; was must be true or false",
        ),
        (b'{"service": "\\ud800", "serving": false, "was": true}', "service must be a text"),
    ],
)
def test_a_body_of_another_act_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(ActRefusedError) as caught:
        values_of(ACTS["serving"], body)
    assert (caught.value.status, caught.value.values()) == (400, {"error": text})


@pytest.mark.parametrize("was", [b'"a"', b"{}", b'{"server": 5}', b'{"server": "a", "b": 1}', b"null"])
@pytest.mark.parametrize("act", ["drain", "roll"])
def test_an_order_names_its_server(act: str, was: bytes) -> None:
    with pytest.raises(ActRefusedError, match='was must be an object with the text "server"'):
        values_of(ACTS[act], b'{"was": ' + was + b"}")
