"""The blocks of a view in a real browser: hostile texts act nowhere, numbers are the view's, acts are asked for.

The views are data of the tests. With FASTRPC_SCREENSHOTS, a folder, pictures of the pages are left there.
"""

import asyncio
import csv
import io
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc.console.blocks import (
    Button,
    Buttons,
    Chart,
    ChartLine,
    Column,
    Facts,
    Graph,
    GraphEdge,
    GraphNode,
    Table,
    Text,
    Tree,
    TreeNode,
    ViewLink,
)
from fastrpc.console.graph_layout import graph_layout
from fastrpc.escaping import printable
from tests.support.console_browser import Browsed, browsing
from tests.support.console_stand_in import OWNER, StandIn, stand_in
from tests.support.hostile_texts import HOSTILE_TEXTS

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

pytestmark = pytest.mark.one_loop

#: The rows of an image in which a column of a canvas has a colour.
ROWS_OF = """([selector, at, colour]) => {
  const canvas = document.querySelector(selector);
  const x = Math.round(canvas.width * at);
  const data = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height).data;
  const wanted = colour.match(/\\d+/g).slice(0, 3).map(Number);
  return Array.from({length: canvas.height}, (_, y) => y).filter(y =>
    data[4 * y + 3] > 200 && wanted.every((one, part) => Math.abs(data[4 * y + part] - one) < 12));
}"""

COLOUR_OF = "selector => getComputedStyle(document.querySelector(selector)).color"


@asynccontextmanager
async def shown(chromium: str, *blocks: Any, **options: Any) -> AsyncIterator[tuple[StandIn, Browsed]]:
    """Open a view of these blocks."""
    async with stand_in() as scene:
        scene.blocks["services"] = list(blocks)
        async with browsing(chromium, scene.url, **options) as browsed:
            await browsed.until("#age", "as of")
            yield scene, browsed


async def saved_rows(browsed: Browsed, number: int = 0) -> list[list[str]]:
    """Save a table as CSV, and return its rows as a spreadsheet reads them."""
    async with browsed.page.expect_download() as saving:
        await browsed.page.locator("button[data-csv]").nth(number).click()
    path = await (await saving.value).path()
    return list(csv.reader(io.StringIO(Path(path).read_bytes().decode(), newline="")))


def hostile_blocks(texts: tuple[str, ...]) -> list[Any]:
    """Return blocks of every kind with hostile texts in every place that holds one."""
    link = ViewLink(texts[0], {texts[1]: texts[2], "service": texts[3]})
    nodes = [GraphNode(text, link, 90.0, 20.0 + 40 * row) for row, text in enumerate(texts)]
    edges = [GraphEdge(begin, end, 1.0) for begin, end in itertools.pairwise(texts)]
    columns = [Column(text, text, text if row % 2 else "") for row, text in enumerate(texts[:4])]
    return [
        Facts(texts[0], dict(zip(texts, reversed(texts), strict=True)), dict.fromkeys(texts, texts[1])),
        Table(texts[0], columns, [[text] * 4 for text in texts], len(texts), links=[link] * len(texts)),
        Table(texts[1], columns, [[text] * 4 for text in texts], len(texts), order=columns[0].name),
        Chart(
            texts[2],
            texts[3],
            10.0,
            [ChartLine(text, [1.0, 2.0, float(row)]) for row, text in enumerate(texts)],
            end=1e9,
        ),
        Tree(
            texts[0],
            [
                TreeNode(text, {text: text, "value": text}, [TreeNode(text, {"value": text})])
                for text in texts
            ],
        ),
        Graph(texts[1], nodes, edges, 300.0, 40.0 * len(texts)),
        *(Text(text, text) for text in texts),
        Buttons([Button(text, link) for text in texts]),
        {"kind": texts[0], "title": texts[1]},
    ]


async def test_hostile_texts_act_nowhere(chromium: str) -> None:
    assert len(HOSTILE_TEXTS) >= 40
    async with shown(chromium, *hostile_blocks(HOSTILE_TEXTS)) as (scene, browsed):
        scene.title = HOSTILE_TEXTS[0]
        await browsed.until("#title", HOSTILE_TEXTS[0])
        await browsed.check()
        # Texts are shown, with hidden characters escaped, and at most 120 characters and a mark long.
        cells = set(await browsed.texts("section.table tbody td"))
        assert {"<img src=x onerror=alert(1)>", "\\u202egnp.exe", "\\x1b[2J\\x1b]0;owned\\x07"} <= cells
        every = str(await browsed.page.evaluate("document.documentElement.textContent"))
        assert printable(every, multiline=True) == every
        names = await browsed.texts("dt, h1, h2, th, td, strong, button, .node")
        assert max(map(len, names)) <= 140
        # A text that is pressed opens a view, or does nothing.
        await browsed.page.locator("tbody a").first.click()
        await browsed.until("#title", HOSTILE_TEXTS[0])
        assert browsed.page.url.startswith(f"{scene.origin}/?view=")
        await browsed.check()


async def test_a_saved_table_holds_no_formula(chromium: str) -> None:
    rows: list[list[Any]] = [[text, -1.5, None] for text in HOSTILE_TEXTS]
    columns = [Column("name", "=name"), Column("number", "number"), Column("nothing", "nothing")]
    async with shown(chromium, Table("services", columns, rows, len(rows))) as (_, browsed):
        found = await saved_rows(browsed)
        assert len(found) == len(rows) + 1
        for text, cells in zip(["=name", *HOSTILE_TEXTS], found, strict=True):
            assert cells[0] == printable(re.sub(r"(^|;)(?=\s*[=+\-@])", r"\1'", text))
        # A number is a number.
        assert found[1][1:] == ["-1.5", ""]
        await browsed.check()


#: Scripts that break the policy; `add` puts a new element into the page.
BREAKS = {
    "text as elements": "document.body.innerHTML = '<b>a</b>';",
    "inline script": "const one = add('div'); one.setAttribute('onclick', '1'); one.click();",
    "inline style": "add('style').append('b { color: red }');",
    "picture of another host": "add('img').src = 'http://192.0.2.1/a.png';",
    "request to another host": "fetch('http://192.0.2.1/').catch(() => {});",
    "evaluated text": "setTimeout('1');",
}
ADD = "function add(tag) { const one = document.createElement(tag); document.body.append(one); return one; }"


@pytest.mark.parametrize("script", BREAKS.values(), ids=BREAKS)
async def test_a_page_that_breaks_the_policy_is_caught(script: str, chromium: str) -> None:
    async with shown(chromium, Text("a")) as (_, browsed):

        async def broken(route: Any) -> None:
            answer = await route.fetch()
            await route.fulfill(
                response=answer, body=f"{await answer.text()}\ntry {{ {script} }} finally {{ }}"
            )

        await browsed.check()
        await browsed.page.route("**/page.js", broken)
        await browsed.page.reload()
        await browsed.until("#age", "as of")
        with pytest.raises(AssertionError):
            await browsed.check()


def two_charts() -> list[Chart]:
    flat = [ChartLine("low", [3.0] * 100), ChartLine("high", [5.0] * 100)]
    steps = [ChartLine("first", [2.0] * 100), ChartLine("second", [1.0] * 50 + [6.0] * 50)]
    return [
        Chart("lines", "per second", 10.0, flat, 1e9),
        Chart("stack", "seconds", 10.0, steps, 1e9, is_stack=True),
    ]


async def rows_painted(browsed: Browsed, chart: int, name: str, at: float) -> list[int]:
    """Return where a column of a chart has the colour of a line."""
    legend = f"section.chart:nth-of-type({chart}) button[data-line='{name}'] svg"
    colour = await browsed.page.evaluate(COLOUR_OF, legend)
    found = await browsed.page.evaluate(ROWS_OF, [f"section.chart:nth-of-type({chart}) canvas", at, colour])
    return [int(row) for row in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_lines_are_drawn_at_their_values(scheme: str, chromium: str) -> None:
    async with shown(chromium, *two_charts(), color_scheme=scheme) as (_, browsed):
        await browsed.picture(f"console-charts-{scheme}")
        # The axis ends at 5 in the first chart, at 10 in the second; it takes 10 to 198 of 220 pixels.
        for chart, name, at, share in (
            (1, "low", 0.51, 3 / 5),
            (1, "high", 0.51, 5 / 5),
            (2, "first", 0.3, 2 / 10),
            (2, "second", 0.3, 3 / 10),
            (2, "first", 0.9, 2 / 10),
            (2, "second", 0.9, 8 / 10),
        ):
            expected = 198 - share * 188
            rows = await rows_painted(browsed, chart, name, at)
            # A dash may leave out a column: the next one has it.
            rows = rows or await rows_painted(browsed, chart, name, at + 0.004)
            assert rows, (name, at)
            assert all(abs(row - expected) <= 3 for row in rows), (name, rows, expected)


async def test_a_line_has_a_gap_where_values_are_missing(chromium: str) -> None:
    line = ChartLine("some", [3.0] * 40 + [None] * 20 + [3.0] * 40)
    async with shown(chromium, Chart("gaps", "seconds", 60.0, [line], 1e9)) as (_, browsed):
        assert await rows_painted(browsed, 1, "some", 0.3)
        assert await rows_painted(browsed, 1, "some", 0.9)
        assert not await rows_painted(browsed, 1, "some", 0.51)


async def test_words_and_table_of_a_chart_are_its_values(chromium: str) -> None:
    lines = [ChartLine("low", [1.0, None, 6.0]), ChartLine("high", [4.0, 8.0, 9.0])]
    chart = Chart("calls", "per second", 10.0, lines, 1e9)
    async with shown(chromium, chart) as (_, browsed):
        told = await browsed.until("section.chart p", "on average")
        assert told == (
            "high: on average 7 per second, at most 9, last 9; low: on average 3.5 per second, at most 6, last 6."
        )
        # The largest average comes first.
        assert [text.split() for text in await browsed.texts(".legend button")] == [
            ["high", "⌀", "7"],
            ["low", "⌀", "3.5"],
        ]
        await browsed.page.click("section.chart summary")
        rows = [text.split("\t")[1:] for text in await browsed.texts("section.chart tbody tr")]
        assert rows == [["9", "6"], ["8", "–"], ["4", "1"]]
        end = await browsed.page.evaluate("new Date(1e12).toTimeString().slice(0, 8)")
        assert (await browsed.texts("section.chart tbody tr th"))[0] == end
        label = await browsed.page.get_attribute("canvas", "aria-label")
        assert label == f"calls. {told}"


async def test_charts_share_cursor_and_zoom_and_lines_can_be_off(chromium: str) -> None:
    async with shown(chromium, *two_charts()) as (_, browsed):
        page = browsed.page
        box = await page.locator("canvas").first.bounding_box()
        await page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
        # The instant under the cursor counts for the other chart as well.
        assert [text.split() for text in await browsed.texts(".legend button")][2:] == [
            ["second", "6", "s"],
            ["first", "2", "s"],
        ]
        await page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 50)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 60)
        await browsed.picture("console-drag")
        await page.mouse.up()
        await browsed.until_count("button[data-zoom]", 2)
        told = await browsed.texts("section.chart p.soft")
        assert "second: on average 1 s" in told[1]
        await page.locator("button[data-zoom]").first.click()
        await browsed.until_count("button[data-zoom]", 0)
        await page.click("button[data-line='second']")
        assert await page.get_attribute("button[data-line='second']", "aria-pressed") == "false"
        assert await rows_painted(browsed, 2, "second", 0.3) == []
        await page.click("button[data-line='second']")
        # By keyboard: the cursor moves, its values are announced, and a part is selected and deselected.
        await page.focus("canvas")
        await page.keyboard.press("Home")
        assert (await browsed.texts(".spoken"))[0].endswith(": high 5, low 3")
        await page.keyboard.press("+")
        await browsed.until_count("button[data-zoom]", 2)
        await page.keyboard.press("Escape")
        await browsed.until_count("button[data-zoom]", 0)
        await browsed.check()


def many_rows() -> Table:
    columns = [
        Column("service", "service"),
        Column("rate", "calls/s", "per second"),
        Column("line", "calls", "line"),
    ]
    rows: list[Any] = [[f"service-{number}", number / 4, [1.0, 2.0]] for number in range(200)]
    links: list[ViewLink | None] = [
        ViewLink("service", {"service": f"service-{number}"}) for number in range(200)
    ]
    return Table("services", columns, rows, 450, 1, links, "service")


async def test_search_order_and_page_are_in_the_address(chromium: str) -> None:
    async with shown(chromium, many_rows()) as (scene, browsed):
        page = browsed.page
        assert "rows 1 to 200 of 450" in await browsed.until("section.table", "of 450")
        await page.click("nav.pages >> text=Next")
        await scene.until_asked("services", page="2")
        await page.click("button[data-sort='-rate']")
        await scene.until_asked("services", sort="-rate")
        await page.keyboard.press("/")
        await page.keyboard.type("a b&c")
        await scene.until_asked("services", sort="-rate", search="a b&c")
        # The browser's own word: playwright learns of it later.
        address = await page.evaluate("location.href")
        assert address == f"{scene.origin}/?view=services&sort=-rate&search=a+b%26c"
        # The same address gives the same view, with its field filled.
        await page.reload()
        await scene.until_asked("services", sort="-rate", search="a b&c")
        await browsed.until_count("tbody tr", 200)
        assert await page.input_value("[data-search]") == "a b&c"
        await page.focus("[data-search]")
        await page.keyboard.press("Escape")
        await scene.until_asked("services", sort="-rate")
        await page.go_back()
        await scene.until_asked("services", page="2")
        await browsed.check()


async def test_a_view_is_requested_while_it_is_shown_and_equal_parts_stay(chromium: str) -> None:
    table = many_rows()
    async with shown(chromium, table) as (scene, browsed):
        page = browsed.page
        await scene.until_asked("services", 2)
        # The blocks come once: the page has them by their revision.
        assert [after == "" for _, _, after in scene.asked] == [True, *[False] * (len(scene.asked) - 1)]
        await page.focus("tbody a >> nth=7")
        table.rows.reverse()
        table.links.reverse()
        await browsed.until("tbody tr", "service-199")
        assert await page.evaluate("document.activeElement.textContent") == "service-7"
        await page.evaluate(
            """() => {
              Object.defineProperty(document, "hidden", {value: true, configurable: true});
              document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
        other = Browsed(await page.context.new_page(), scene.origin)
        before = len(scene.asked)
        await other.page.goto(f"{scene.origin}/?view=console#token={OWNER}")
        await scene.until_asked("console", 3)
        assert {name for name, _, _ in scene.asked[before:]} == {"console"}


def acting(name: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "Buttons",
        "buttons": [{"title": "take out", "link": None, "act": {"name": name, **more}}],
    }


async def test_an_act_is_explained_asked_for_and_answered(chromium: str) -> None:
    servers = ["tcp://10.0.0.7:9099", "<b>tcp</b>"]
    blocks = [
        acting("out", servers=servers, values={"was": False}, asks=[]),
        acting("weight", servers=servers[:1], values={"was": 1}, asks=["weight"]),
    ]
    async with shown(chromium, *blocks) as (scene, browsed):
        page, keyboard = browsed.page, browsed.page.keyboard
        scene.answers = [
            {"server": servers[0], "status": 200, "text": "", "values": {"after": True}},
            {"server": servers[1], "status": 409, "text": "the value is now <i>true</i>", "values": {}},
        ]
        await browsed.tab_to("take out")
        await keyboard.press("Enter")
        told = await browsed.until("dialog", "weight 0")
        assert "still no" in told
        assert servers[1] in told
        await browsed.picture("console-act")
        await browsed.check_access()
        await keyboard.type("operator-token")
        await keyboard.press("Enter")
        answered = await browsed.until("dialog [role=status]", "refused (409)")
        assert answered.splitlines()[0] == "tcp://10.0.0.7:9099: done, after: yes"
        assert scene.acts == [
            {"name": "out", "servers": servers, "values": {"was": False}, "token": "operator-token"}
        ]
        await keyboard.press("Escape")
        await browsed.until_count("dialog[open]", 0)
        # The tab has the token for the next act, in its memory alone.
        await page.locator("button[data-act]").nth(1).click()
        await page.fill("dialog input[type=number]", "5")
        await keyboard.press("Enter")
        await browsed.until("dialog [role=status]", "done")
        assert scene.acts[1]["values"] == {"was": 1, "weight": 5}
        assert scene.acts[1]["token"] == "operator-token"
        kept = "JSON.stringify([Object.values(sessionStorage), Object.values(localStorage), document.cookie])"
        assert "operator-token" not in await page.evaluate(kept)
        assert not any("operator-token" in url for url in browsed.asked)
        await browsed.check()


async def test_the_dialog_of_an_act_stays_open_until_its_answer(chromium: str) -> None:
    async with shown(chromium, acting("out", servers=["a"])) as (scene, browsed):
        page, keyboard = browsed.page, browsed.page.keyboard
        scene.answers = [{"server": "a", "status": 200, "text": "", "values": {}}]
        held: asyncio.Queue[Any] = asyncio.Queue()
        await page.route("**/fastrpc.console.act/act", held.put)
        await page.click("button[data-act]")
        await keyboard.type("operator-token")
        await keyboard.press("Enter")
        request = await held.get()
        # The console may ask many servers, each of which may need its time.
        assert int(request.request.headers["timeout-ms"]) == 60_000
        for _ in range(3):
            await keyboard.press("Escape")
        assert await page.is_disabled("dialog button >> text=Close")
        await browsed.until("dialog [role=status]", "Under way")
        await request.continue_()
        await browsed.until("dialog [role=status]", "a: done")
        await keyboard.press("Escape")
        await browsed.until_count("dialog[open]", 0)
        await browsed.check()


async def test_a_reader_without_the_right_sees_no_act(chromium: str) -> None:
    async with shown(chromium, acting("out", servers=["a"]), Text("there")) as (scene, browsed):
        await browsed.until_count("button[data-act]", 1)
        async with browsing(chromium, f"{scene.origin}/#token=viewer") as viewing:
            await viewing.until("#blocks", "there")
            assert await viewing.page.locator("button[data-act]").count() == 0
            await viewing.check()


async def test_a_server_that_is_away_leaves_the_last_view_and_says_so(chromium: str) -> None:
    async with stand_in() as scene:
        scene.blocks["services"] = [Text("the last one")]
        async with browsing(chromium, scene.url) as browsed:
            await browsed.until("#blocks", "the last one")
            await browsed.page.route("**/view", lambda route: route.abort())
            told = await browsed.until("#problem", "not up to date")
            assert "UNAVAILABLE" in told
            assert "the last one" in await browsed.page.inner_text("#blocks")
            await browsed.page.unroute("**/view")
            await browsed.until_count("#problem:visible", 0)


async def test_a_method_that_can_be_called_has_a_link_to_its_form(chromium: str) -> None:
    async with shown(chromium) as (scene, browsed):
        scene.blocks["method"] = [Text("a method")]
        for method, count in (("view", 1), ("unknown", 0)):
            query = f"view=method&service=fastrpc.console.detail&method={method}"
            await browsed.page.goto(f"{scene.origin}/?{query}")
            await browsed.until("#blocks", "a method")
            assert await browsed.page.locator("text=Try it").count() == count
            told = "asks for the token again" in await browsed.page.inner_text("#blocks")
            assert told == bool(count)
        await browsed.page.go_back()
        await browsed.page.click("text=Try it")
        assert browsed.page.url == f"{scene.origin}/docs#fastrpc.console.detail.view"
        await browsed.page.fill("#token", OWNER)
        await browsed.page.keyboard.press("Enter")
        await browsed.until("#shown", "fastrpc.console.detail.view")


async def test_a_graph_of_sixty_nodes_is_drawn_as_it_was_sent(chromium: str) -> None:
    names = ["it", *(f"caller-{one}" for one in range(30)), *(f"callee-{one}" for one in range(29))]
    ends = [(name, "it") if name.startswith("caller") else ("it", name) for name in names[1:]]
    layout = graph_layout(names, ends)
    nodes = [GraphNode(name, ViewLink("service", {"service": name}), *layout.centres[name]) for name in names]
    edges = [GraphEdge(begin, end, float(row)) for row, (begin, end) in enumerate(ends)]
    async with shown(chromium, Graph("neighbours", nodes, edges, layout.width, layout.height)) as (
        _,
        browsed,
    ):
        assert await browsed.page.locator(".node text").all_text_contents() == names
        places = await browsed.page.evaluate(
            """[...document.querySelectorAll(".node rect")].map(one =>
              [[one.x, one.width], [one.y, one.height]].map(([at, size]) =>
                at.baseVal.value + size.baseVal.value / 2))"""
        )
        assert [tuple(place) for place in places] == [(node.x, node.y) for node in nodes]
        await browsed.picture("console-graph")
        await browsed.check_access()
        await browsed.check()
