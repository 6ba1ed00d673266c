"""What the fields of a request say about a call."""

import pytest

from tests.support.gateway_talk import connected

METADATA = "/shop.v1/metadata"
REMAINING = "/shop.v1/remaining"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"Meta_User": "Ada%20L."}, {"user": "Ada L."}),
        ({"META_User": "%C3%a4%25"}, {"user": "ä%"}),
        ({"Meta_Key_Bin": "AAE="}, {"key-bin": "0001"}),
        ({"Meta_Key_Bin": "AAE"}, {"key-bin": "0001"}),
        ({"Authorization": "Bearer x"}, {"authorization": "Bearer x"}),
        ({"traceparent": "00-a"}, {"traceparent": "00-a"}),
        ({"X_Other": "x", "Cookie": "a=b"}, {}),
    ],
)
async def test_fields_are_metadata_under_their_names(fields: dict[str, str], found: dict[str, str]) -> None:
    async with connected() as talk:
        answer = await talk.post(METADATA, {}, **fields)
        assert answer.value == found


@pytest.mark.parametrize(
    "fields",
    [
        {"Meta_User": "100%"},
        {"Meta_User": "%zz"},
        {"Meta_User": "%+1"},
        {"Meta_User": "%ff"},
        {"Meta_User": "\xe4"},
        {"Meta_Key_Bin": "!"},
        {"Meta_Authorization": "x"},
        {"Meta_frpc_x": "x"},
        {"Meta_": "x"},
        {"Meta_User": "a\r\nMeta-User: b"},
        {"Authorization": "a\r\nAuthorization: b"},
        {"traceparent": "a", "Meta_traceparent": "b"},
    ],
)
async def test_a_field_that_is_no_metadata_is_refused(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(METADATA, {}, **fields)).status == 400


async def test_metadata_of_an_answer_is_fields_again() -> None:
    async with connected() as talk:
        answer = await talk.post(METADATA, {})
        assert (answer["meta-answer"], answer["meta-raw-bin"]) == ("%C3%A4%20b%25c", "AP8=")


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"Timeout_Ms": "60000"}, 60),
        ({"grpc_timeout": "1M"}, 60),
        ({"grpc_timeout": "60000000u"}, 60),
        ({"Timeout_Ms": "999999999", "grpc_timeout": "60S"}, 60),
        ({"Timeout_Ms": "60000", "grpc_timeout": "99999999H"}, 60),
    ],
)
async def test_the_smaller_timeout_counts(fields: dict[str, str], seconds: int) -> None:
    async with connected() as talk:
        assert seconds - 30 < (await talk.post(REMAINING, {}, **fields)).value <= seconds


@pytest.mark.parametrize("fields", [{"Timeout_Ms": "0"}, {"grpc_timeout": "0S"}, {"grpc_timeout": "999n"}])
async def test_a_timeout_of_nothing_is_over(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(REMAINING, {}, **fields)).status == 504


@pytest.mark.parametrize(
    "fields",
    [
        {"Timeout_Ms": ""},
        {"Timeout_Ms": "-1"},
        {"Timeout_Ms": "1.5"},
        {"Timeout_Ms": "1" * 13},
        {"Timeout_Ms": "1\r\nTimeout-Ms: 1"},
        {"grpc_timeout": ""},
        {"grpc_timeout": "S"},
        {"grpc_timeout": "1"},
        {"grpc_timeout": "1s"},
        {"grpc_timeout": "123456789S"},
    ],
)
async def test_a_timeout_that_is_no_number_is_refused(fields: dict[str, str]) -> None:
    async with connected() as talk:
        assert (await talk.post(REMAINING, {}, **fields)).status == 400
