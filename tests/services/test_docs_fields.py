"""The fields of `/docs` in a real browser: they give the answers of a typed client, name mistakes, and lose nothing.

With FASTRPC_SCREENSHOTS, a folder, pictures of the page are left there.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Status
from tests.support.described import Described, described
from tests.support.docs_page import Reading, reading
from tests.support.every_type import EveryType
from tests.support.typed_calls import STREAMS, TYPED_CALLS, Recorder, plain

pytestmark = pytest.mark.one_loop


async def by_typed_client(serving: Described, recorder: Recorder) -> list[Any]:
    """Return the result of each call and the arguments of its handler, by a typed client."""
    async with fastrpc.Client(f"tcp://127.0.0.1:{serving.port}") as client:
        return [(await call.made(client), recorder.taken()) for call in TYPED_CALLS]


async def shown(read: Reading, method: str) -> Any:
    """Return the answer that the page shows, or the list of messages, once the call has ended."""
    await read.until("main", "OK in")
    if method not in STREAMS:
        return json.loads(await read.page.inner_text("#output"))
    return [json.loads(line) for line in (await read.page.inner_text("#output")).splitlines()]


async def fill_messages(read: Reading, messages: Any) -> None:
    if messages is not None:
        await read.page.fill("#input", "".join(f"{json.dumps(one)}\n" for one in messages))


async def test_json_gives_the_answer_of_a_typed_client_and_fills_the_fields(chromium: str) -> None:
    recorder = Recorder()
    async with described(EveryType(), interceptors=[recorder]) as serving:
        wanted = await by_typed_client(serving, recorder)
        async with reading(chromium, serving.origin) as read:
            for call, expected in zip(TYPED_CALLS, wanted, strict=True):
                await read.open(call.name)
                arguments = plain(call.arguments)
                await fill_messages(read, call.messages)
                await read.run(**arguments)
                assert (await shown(read, call.name), recorder.taken()) == expected
                # The fields write the same text.
                await read.page.locator("main .fields").first.dispatch_event("input")
                assert json.loads(await read.page.input_value("#arguments")) == arguments
                assert await read.page.locator(".problem").count() == 0
            assert read.complaints == []


async def test_fields_give_the_answer_of_a_typed_client(chromium: str) -> None:
    recorder = Recorder()
    async with described(EveryType(), interceptors=[recorder]) as serving:
        wanted = await by_typed_client(serving, recorder)
        async with reading(chromium, serving.origin) as read:
            for call, expected in zip(TYPED_CALLS, wanted, strict=True):
                await read.open(call.name)
                await fill_messages(read, call.messages)
                await read.give("", plain(call.arguments), call.chosen)
                assert json.loads(await read.page.input_value("#arguments")) == plain(call.arguments)
                await read.call()
                assert (await shown(read, call.name), recorder.taken()) == expected
            assert read.complaints == []


async def test_wrong_input_names_its_field_and_is_not_sent(chromium: str) -> None:
    async with described(EveryType()) as serving, reading(chromium, serving.origin) as read:
        await read.open("every.type.plain")
        await read.field("b").fill("seven")
        assert await read.page.inner_text("#state") == 'b: "seven" is no integer'
        assert await read.field("b").get_attribute("aria-invalid") == "true"
        await read.call()
        assert await read.page.inner_text("#state") == 'b: "seven" is no integer'
        await read.field("b").fill("7")
        assert await read.page.inner_text("#state") == ""
        await read.field("c").fill("1e999")
        assert await read.page.inner_text("#state") == 'c: "1e999" is no number'
        await read.page.fill("#arguments", '{"a": true,')
        assert "arguments: no JSON" in await read.page.inner_text("#state")
        await read.call()
        assert "arguments: no JSON" in await read.page.inner_text("#state")
        await read.page.fill("#arguments", "[1]")
        assert await read.page.inner_text("#state") == "arguments: no object of JSON"
        await read.open("every.type.raw")
        await read.field("data").locator("textarea").first.fill("?")
        assert await read.page.inner_text("#state") == "data: no base64"
        await read.open("every.type.maps")
        await read.give("", {"b": {"k": "one", "l": "two"}}, {})
        await read.page.locator("[data-path='b'] [aria-label='key']").last.fill("k")
        assert await read.page.inner_text("#state") == 'b: the key "k" is there twice'
        await read.open("arith.total")
        await read.page.fill("#input", "1\n2,\n")
        await read.call()
        assert "message 2: no JSON" in await read.page.inner_text("#state")
        assert not any("/every.type/" in url or "/arith/" in url for url in read.asked)


async def test_wrong_settings_are_named(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.mul")
        await read.page.click("text=Timeout and metadata")
        await read.page.check("[aria-label='give timeout']")
        await read.page.fill("[data-path='timeout']", "0")
        await read.call()
        assert await read.page.inner_text("#state") == "timeout: not above 0 seconds"
        await read.page.fill("[data-path='timeout']", "2.5")
        await read.page.check("[aria-label='give metadata']")
        await read.page.click("[data-path='metadata'] > button")
        for key, words in (("A b", "keys are 1 to 255 of"), ("authorization", "the token has a field")):
            await read.page.fill("[aria-label='key']", key)
            await read.call()
            assert f'metadata["{key}"]: {words}' in await read.page.inner_text("#state")
        assert not any("/arith/" in url for url in read.asked)


async def test_a_refusal_of_the_server_is_shown_next_to_its_field(chromium: str) -> None:
    async with described(EveryType()) as serving, reading(chromium, serving.origin) as read:
        await read.open("every.type.classes")
        (call,) = [one for one in TYPED_CALLS if one.name == "every.type.classes" and one.arguments["maybe"]]
        arguments = plain(call.arguments)
        arguments["node"]["children"] = [{"value": "x"}]
        arguments["row"] = [7]
        await read.run(**arguments)
        await read.until("#state", "INVALID_ARGUMENT")
        told = {
            await one.evaluate("one => one.previousSibling.dataset.path"): await one.inner_text()
            for one in await read.page.locator(".problem").all()
        }
        assert told == {
            "node.children[0].value": "expected Decimal, got str",
            "row[0]": "expected str, got int",
        }
        await read.picture("docs-wrong")
        # It is gone with the next input.
        await read.field("node.children[0].value").fill("1")
        assert await read.page.locator(".problem").count() == 1


@fastrpc.service("refusing")
class Refusing:
    @fastrpc.method(safe=True)
    async def refuse(self, lines: list[int], details: Any) -> None:
        raise CallError(Status.INVALID_ARGUMENT, "refused", details=details)


async def test_a_refusal_with_any_details_is_reported(chromium: str) -> None:
    mistakes = [
        {"path": path, "expected": "x", "got": "y"} for path in ("a]", "lines[0].", "lines[", 'no["a]b"]', 5)
    ]
    async with described(Refusing()) as serving, reading(chromium, serving.origin) as read:
        await read.open("refusing.refuse")
        await read.run(lines=[1], details=[None, *mistakes])
        await read.until("#state", "INVALID_ARGUMENT")
        told = await read.page.locator(".problem").all_inner_texts()
        assert told == ["lines[0].: expected x, got y", "lines[: expected x, got y"]
        assert [text for text in read.complaints if "Failed to load resource" not in text] == []


async def test_no_value_is_lost_that_fields_do_not_hold(chromium: str) -> None:
    odd = {
        "node": {
            "value": 7,
            "unknown": [1],
            "constructor": 2,
            "__proto__": {"x": 3},
            "place": "a\rb",
            "counts": {"two\nlines": 1},
        },
        "options": "no object",
        "point": [1, "x", None],
        "pet": {"type": "Bird"},
        "page": {"items": [{"value": str(number)} for number in range(400)]},
    }
    async with described(EveryType()) as serving, reading(chromium, serving.origin) as read:
        await read.open("every.type.classes")
        await read.page.fill("#arguments", json.dumps(odd))
        assert await read.page.locator("[data-odd]").count() > 3
        assert await read.page.inner_text("[data-path='options'] + .problem") == "no Options"
        await read.page.check("[aria-label='give row']")
        assert json.loads(await read.page.input_value("#arguments")) == odd | {"row": [""]}


async def test_settings_reach_the_handler_and_stay_for_the_next_method(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.mul")
        await read.page.click("text=Timeout and metadata")
        await read.page.check("[aria-label='give timeout']")
        await read.page.check("[aria-label='give metadata']")
        await read.page.click("[data-path='metadata'] > button")
        await read.page.fill("[aria-label='key']", "tenant")
        await read.page.fill("[data-path='metadata[\"tenant\"]']", "grün 100%")
        await read.open("arith.data")
        await read.run(data="AAE=", number=3)
        await read.until("main", "OK in")
        assert json.loads(await read.page.inner_text("#output")) == [2, "3", "grün 100%"]
        await read.open("arith.count")
        await read.page.fill("[data-path='timeout']", "0.2")
        # The handler waits for ever after these messages.
        await read.run(limit=101)
        await read.until("#state", "DEADLINE_EXCEEDED")


async def test_bytes_are_given_by_a_file_or_as_text(chromium: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00\xff")
    async with described(EveryType()) as serving, reading(chromium, serving.origin) as read:
        await read.open("every.type.raw")
        await read.field("data").locator("[aria-label='as text']").fill("ü")
        assert json.loads(await read.page.input_value("#arguments")) == {"data": "w7w="}
        await read.field("data").locator("input[type=file]").set_input_files(tmp_path / "data")
        await read.call()
        await read.until("main", "OK in")
        assert json.loads(await read.page.inner_text("#output")) == "AP8="
        # A chooser that is cancelled leaves the bytes as they are.
        await read.field("data").locator("input[type=file]").set_input_files([])
        assert json.loads(await read.page.input_value("#arguments")) == {"data": "AP8="}
        assert read.complaints == []


async def test_items_are_added_and_removed_by_the_keyboard(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.product")
        await read.field("factors").locator("button").focus()
        for number in ("2", "3", "5"):
            await read.page.keyboard.press("Enter")
            # The new field has the focus, and all of its text is replaced.
            await read.page.keyboard.press("Control+A")
            await read.page.keyboard.type(number)
            for _ in range(2):
                await read.page.keyboard.press("Tab")
        assert json.loads(await read.page.input_value("#arguments")) == {"factors": [2, 3, 5]}
        await read.page.keyboard.press("Shift+Tab")
        await read.page.keyboard.press("Enter")
        assert json.loads(await read.page.input_value("#arguments")) == {"factors": [2, 3]}
        assert await read.page.evaluate("document.activeElement.textContent") == "Add"
