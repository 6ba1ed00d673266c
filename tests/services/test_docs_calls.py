"""Calls on `/docs` in a real browser: the question before them, the last ones, copied text; the first page.

With FASTRPC_SCREENSHOTS, a folder, pictures of the page are left there.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

import fastrpc
from fastrpc.auth import Identity, StaticTokens
from tests.support.copied_forms import FORMS, run_form
from tests.support.described import Arith, described
from tests.support.docs_page import reading
from tests.support.every_type import EveryType
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer
from tests.support.typed_calls import STREAMS, TYPED_CALLS, plain

pytestmark = pytest.mark.one_loop


async def test_a_method_that_may_change_something_is_called_after_one_question(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        calls = [("arith.fail", 1), ("arith.fail", 0), ("arith.large", 1), ("arith.mul", 0)]
        for number, (method, questions) in enumerate(calls):
            await read.open(method)
            await read.page.click("#call")
            assert await read.page.locator("dialog").count() == questions, number
            if questions:
                assert method in await read.page.inner_text("dialog")
                # The first answer of the keyboard is no.
                assert await read.page.evaluate("document.activeElement.value") == "no"
                await read.picture(f"docs-question-{number}")
                await read.page.keyboard.press("Escape")
                # The browser tells the page of the end in a later turn.
                await read.page.locator("dialog").wait_for(state="detached")
                assert not any(f"/{method.replace('.', '/')}" in url for url in read.asked)
                await read.page.click("#call")
                await read.page.click('dialog button[value="yes"]')
            await read.until("main", "OK in" if method != "arith.fail" else "NOT_FOUND")


async def test_the_last_calls_fill_the_form_again_and_hold_no_token(chromium: str) -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving, reading(chromium, serving.origin) as read:
        await read.page.fill("#token", "s3cret")
        await read.page.press("#token", "Tab")
        await read.page.wait_for_selector('button[data-method="arith.total"]')
        await read.open("arith.total")
        await read.page.fill("#input", "1\n2\n")
        await read.run(start=10)
        await read.until("main", "OK in")
        await read.open("arith.mul")
        for number in range(52):
            await read.run(a=number)
            await read.until("#state", "OK in")
        assert "Last calls (50)" in await read.page.inner_text("#calls")
        assert await read.page.locator("#calls li").count() == 50
        await read.page.click("#calls summary")
        assert "s3cret" not in await read.page.inner_html("#calls")
        await read.page.locator("#calls li button").nth(20).click()
        assert json.loads(await read.page.input_value("#arguments")) == {"a": 31}
        assert await read.page.input_value("[data-path='a']") == "31"
        await read.picture("docs-last-calls")
        # Of another method, with its messages.
        await read.open("arith.total")
        await read.page.fill("#input", "5\n")
        await read.run(start=1)
        await read.until("main", "OK in")
        await read.open("arith.mul")
        await read.page.locator("#calls li button").first.click()
        await read.until("h2", "arith.total")
        assert await read.page.input_value("#input") == "5\n"
        assert json.loads(await read.page.input_value("#arguments")) == {"start": 1}
        await read.page.reload()
        await read.until("#list", "mul")
        assert await read.page.inner_text("#calls") == ""


@fastrpc.service("sealed")
class Sealed:
    @fastrpc.method(safe=True)
    async def length(
        self,
        name: str,
        token: Annotated[str, msgspec.Meta(extra_json_schema={"format": "password"}, min_length=3)],
        spare: Annotated[str | None, msgspec.Meta(extra_json_schema={"format": "password"})] = None,
    ) -> list[Any]:
        return [name, len(token), spare and len(spare)]


async def test_a_secret_argument_is_masked_and_in_no_text_of_the_page(chromium: str) -> None:
    async with described(Sealed()) as serving, reading(chromium, serving.origin) as read:
        await read.open("sealed.length")
        await read.field("name").fill("ada")
        for name in ("token", "spare"):
            field = read.page.locator(f"#shown input[data-path='{name}']")
            if name == "spare":
                await read.page.check("[aria-label='give spare']")
                await read.page.locator("[data-path='spare'] > select").select_option("string password")
            assert await field.get_attribute("type") == "password"
            await field.fill("s3cret")
        await read.picture("docs-secret")
        await read.call()
        await read.until("#state", "OK in")
        assert json.loads(await read.page.inner_text("#output")) == ["ada", 6, 6]
        assert json.loads(await read.page.input_value("#arguments")) == {"name": "ada"}
        for form in FORMS:
            text = await read.copy(form)
            assert "s3cret" not in text
            assert "token" not in text
        # The next form is filled with the remaining values.
        await read.page.click("#calls summary")
        await read.page.locator("#calls li button").first.click()
        assert "s3cret" not in await read.page.inner_html("body")
        field = read.page.locator("#shown input[data-path='token']")
        assert [await read.field("name").input_value(), await field.input_value()] == ["ada", ""]
        await read.call()
        await read.until("#state", "INVALID_ARGUMENT")
        assert await read.page.inner_text("[data-path='token'] + .problem") != ""
        # JSON with the secret is not called, so that no list keeps it.
        await read.run(name="ada", token="s3cret")
        assert "token: is secret" in await read.page.inner_text("#state")
        assert "s3cret" not in await read.page.inner_html("body")
        assert await read.page.locator("#calls li").count() == 2


async def test_the_copied_forms_of_each_kind_of_method_run_and_give_the_same(
    chromium: str, tmp_path: Path
) -> None:
    names = ("plain", "classes", "own", "count", "total", "talk", "nothing")
    calls = {call.name: call for call in TYPED_CALLS if call.method.__name__ in names}
    async with described(EveryType()) as serving:
        async with fastrpc.Client(f"tcp://127.0.0.1:{serving.port}") as client:
            wanted = {name: await call.made(client) for name, call in calls.items()}
        async with reading(chromium, serving.origin) as read:
            for name, call in calls.items():
                await read.open(name)
                if call.messages is not None:
                    await read.page.fill("#input", "".join(f"{json.dumps(one)}\n" for one in call.messages))
                await read.page.fill("#arguments", json.dumps(plain(call.arguments)))
                for form in FORMS:
                    text = await read.copy(form)
                    found = await run_form(form, text, tmp_path, streams=name in STREAMS)
                    assert found == wanted[name], (form, text)
            await read.picture("docs-copied")


async def test_a_copied_form_has_the_settings_and_takes_the_token_from_the_environment(
    chromium: str, tmp_path: Path
) -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving, reading(chromium, serving.origin) as read:
        await read.page.fill("#token", "s3cret")
        await read.page.press("#token", "Tab")
        await read.page.wait_for_selector('button[data-method="arith.data"]')
        await read.open("arith.data")
        await read.page.fill("#arguments", '{"data": "AAE=", "number": 1}')
        await read.page.click("text=Timeout and metadata")
        await read.page.check("[aria-label='give metadata']")
        await read.page.click("[data-path='metadata'] > button")
        await read.page.fill("[aria-label='key']", "tenant")
        await read.page.fill("[data-path='metadata[\"tenant\"]']", "it's 100%")
        for form in FORMS:
            text = await read.copy(form)
            assert "s3cret" not in text
            found = await run_form(form, text, tmp_path, FASTRPC_TOKEN="s3cret")
            assert found == [2, "1", "it's 100%"], form


async def test_a_wrong_call_is_not_copied(chromium: str) -> None:
    async with described() as serving, reading(chromium, serving.origin) as read:
        await read.open("arith.mul")
        await read.field("a").fill("x")
        await read.page.click('main button:text-is("curl")')
        assert await read.page.inner_text("#state") == 'a: "x" is no integer'
        assert not await read.page.is_visible("#copied")


@fastrpc.service("routed", version="3")
class Routed:
    """Has routes.

    And more to tell.
    """

    @fastrpc.method(safe=True, http="GET /things/{id}")
    async def get(self, id: int) -> int:
        """Return a thing.

        At length.
        """
        return id


async def test_the_first_page_shows_the_services(chromium: str) -> None:
    about: Any = fastrpc.config.OpenAPI(title="Sums <b>", description="Made of\n<i>numbers</i>.")
    async with (
        described(Routed(), http=fastrpc.HTTP(openapi=about)) as serving,
        reading(chromium, serving.origin) as read,
    ):
        text = await read.page.inner_text("#shown")
        for part in (
            "Sums <b>",
            "Made of\n<i>numbers</i>.",
            "Sums and <b>products</b>.",
            "And more to tell.",
        ):
            assert part in text
        rows = {}
        for row in await read.page.locator("#shown tbody tr").all():
            name, paths, kind, line = await row.locator("td").all_inner_texts()
            rows[name] = [paths.split("\n"), kind, line]
        assert rows["get"] == [
            ["GET /routed/get", "POST /routed/get", "GET /things/{id}"],
            "safe",
            "Return a thing.",
        ]
        assert rows["count"] == [["POST /arith/count"], "streams its answers", ""]
        assert "Has routes." in await read.page.inner_text("#list")
        assert "Return a thing." in await read.page.inner_text('button[data-method="routed.get"]')
        await read.page.click("#shown a:text-is('get')")
        await read.until("h2", "routed.get")
        await read.page.click("#title")
        await read.until("#shown", "Made of")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
async def test_it_fits_narrow_and_wide_screens(chromium: str, width: int, scheme: Any) -> None:
    context = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with described(EveryType()) as serving, reading(chromium, serving.origin, **context) as read:
        for call in (None, *TYPED_CALLS):
            name = "first" if call is None else call.name
            if call is not None:
                await read.open(name)
                await read.page.fill("#arguments", json.dumps(plain(call.arguments), indent=2))
                await read.page.locator("main summary").first.click()
                await read.copy("curl")
            assert await read.page.evaluate("document.documentElement.scrollWidth") == width, name
            await read.picture(f"docs-{name}-{width}-{scheme}")
        assert read.complaints == []


async def test_a_gateway_has_the_same_page_and_its_calls_are_copied(chromium: str, tmp_path: Path) -> None:
    with (
        Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0"], tmp_path) as program,
        ThreadedServer(Arith(), registry=(registry := program.wait_output(r"registry at (\S+)\n")[1])),
        Program(
            ["-m", "fastrpc", "gateway", "-r", registry, "-a", "http://127.0.0.1:0"], tmp_path
        ) as gateway,
    ):
        origin = gateway.wait_output(r"gateway at (\S+)\n")[1]
        async with reading(chromium, origin) as read:
            await read.open("arith.mul")
            await read.give("", {"a": 6, "b": 7}, {})
            await read.call()
            await read.until("main", "OK in")
            assert await read.page.inner_text("#output") == "42"
            for form in FORMS:
                assert await run_form(form, await read.copy(form), tmp_path) == 42
