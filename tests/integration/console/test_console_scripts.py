"""The modules of the console's page that need no browser, in Node: texts, cells, and rows that stay."""

import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.support.node import needs_node, run_module

pytestmark = [pytest.mark.one_loop, needs_node]

#: The parts of a document that the modules use.
DOCUMENT = """
class Element {
  constructor(tag) {
    Object.assign(this, { nodeName: tag.toUpperCase(), nodeType: 1, dataset: {}, attributes: [] });
    Object.assign(this, { kids: [], parent: null });
  }
  get children() { return this.kids.filter((one) => one.nodeType === 1); }
  get childNodes() { return this.kids; }
  get firstChild() { return this.kids[0] ?? null; }
  get lastChild() { return this.kids.at(-1) ?? null; }
  get nextSibling() { return this.parent?.kids[this.parent.kids.indexOf(this) + 1] ?? null; }
  get textContent() { return this.kids.map((one) => one.textContent).join(""); }
  set textContent(text) { this.kids = []; this.append(text); }
  append(...children) {
    for (const one of children) this.insertBefore(typeof one === "string" ? new Text(one) : one, null);
  }
  insertBefore(child, next) {
    child.remove();
    this.kids.splice(next === null ? this.kids.length : this.kids.indexOf(next), 0, child);
    child.parent = this;
  }
  remove() {
    if (this.parent) this.parent.kids.splice(this.parent.kids.indexOf(this), 1);
    this.parent = null;
  }
  hasAttribute() { return false; }
  setAttribute() {}
  addEventListener(name, listener) { this[`on${name}`] = listener; }
  replaceChildren(...children) {
    this.kids = [];
    this.append(...children);
  }
  showModal() {}
  all(tag) {
    return this.children.flatMap((one) => [...(one.nodeName === tag ? [one] : []), ...one.all(tag)]);
  }
}
class Text extends Element {
  constructor(text) { super("#text"); this.nodeType = 3; this.data = text; }
  get textContent() { return this.data; }
}
const created = (tag) => new Element(tag);
globalThis.addEventListener = () => {};
globalThis.Node = { TEXT_NODE: 3 };
globalThis.document = { activeElement: null, createElement: created, createElementNS: (_, tag) => created(tag) };
"""


async def run(folder: Path, program: str, *given: Any) -> Any:
    """Run a program that has the modules of the page, and `given`, a list of values."""
    for package, name in (("fastrpc.console", "console"), ("fastrpc.openapi", "docs")):
        shutil.copytree(Path(str(resources.files(package))) / "site", folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(given))
    (folder / "document.js").write_text(DOCUMENT)
    names = ("acts", "blocks", "csv", "morph", "shown")
    lines = ['import "./document.js";', 'import { readFileSync } from "node:fs";']
    lines += [f'import * as {name} from "./console/{name}.js";' for name in names]
    lines += ['const given = JSON.parse(readFileSync("given.json", "utf8"));', program]
    (folder / "main.js").write_text("\n".join(lines))
    return await run_module(folder / "main.js")


async def test_a_cell_holds_no_formula_after_a_semicolon(tmp_path: Path) -> None:
    program = """
        const rows = given.map((text) => [text]);
        console.log(JSON.stringify(csv.tableText({ columns: [{ title: ";@a" }], rows }).split("\\r\\n")));
    """
    texts = ("x;=1+1;y", "x; \t-1", "＝1;＋1;－1;＠1", "=1;=1", "a;b=1;1-1")
    found = await run(tmp_path, program, *texts)
    cells = ["x;'=1+1;y", "x;' \\t-1", "'＝1;'＋1;'－1;'＠1", "'=1;'=1", "a;b=1;1-1", ""]
    assert [one.strip('"') for one in found] == [";'@a", *cells]


async def test_invisible_characters_are_shown_escaped(tmp_path: Path) -> None:
    hidden = "\u200b\u202e\u3164\u034f\ufe0f\u2800\u115f\u17b4\U000e0100"
    program = "console.log(JSON.stringify(given.map((text) => shown.plain(text))));"
    found = await run(tmp_path, program, *hidden, "é ü 漢 😀")
    assert found == [*(one.encode("unicode_escape").decode() for one in hidden), "é ü 漢 😀"]


async def test_a_number_has_the_unit_that_its_rounded_text_fits(tmp_path: Path) -> None:
    program = "console.log(JSON.stringify(given.map(([value, unit]) => shown.valueText(value, unit))));"
    texts = {
        (0.9999, "seconds"): "1 s",
        (0.9994, "seconds"): "999 ms",
        (0.00099999, "seconds"): "1 ms",
        (0.000999, "seconds"): "999 µs",
        (0.05, "seconds"): "50 ms",
        (1024**2 - 1, "bytes"): "1 MiB",
        (1023, "bytes"): "1,023 B",
        (2048, "bytes"): "2 KiB",
    }
    assert await run(tmp_path, program, *texts) == list(texts.values())


def table(columns: list[str], rows: list[list[Any]], links: list[dict[str, Any]]) -> dict[str, Any]:
    named = [{"name": name, "title": name, "unit": ""} for name in columns]
    return {
        "kind": "Table",
        "title": "t",
        "columns": named,
        "rows": rows,
        "total": len(rows),
        "links": links,
    }


CELLS = """
    const [section] = blocks.blockElements(given, { name: "server", given: {}, time: 0, mayAct: true });
    const cells = section.all("TR").slice(1).map((row) => row.all("TD"));
"""


async def test_the_link_of_a_row_is_in_the_column_of_its_argument(tmp_path: Path) -> None:
    link = {"view": "method", "arguments": {"service": "shop", "method": "client"}}
    other = {"view": "service", "arguments": {"service": "calls"}}
    rows = [["shop", "client", "client"], ["shop", "calls", "calls"]]
    block = table(["name", "method", "side"], rows, [link, other])
    program = (
        f"{CELLS} console.log(JSON.stringify(cells.map((row) => row.map((one) => one.all('A').length))));"
    )
    assert await run(tmp_path, program, block) == [[0, 1, 0], [0, 0, 1]]


async def test_ports_and_ids_have_no_commas(tmp_path: Path) -> None:
    columns = ["process_id", "port", "id", "calls", "paid"]
    block = table(columns, [[9190, 65535, 1234567, 1234567, 1234]], [])
    program = f"{CELLS} console.log(JSON.stringify(cells[0].map((one) => one.textContent)));"
    assert await run(tmp_path, program, block) == ["9190", "65535", "1234567", "1,234,567", "1,234"]


async def test_rows_with_the_same_link_stay(tmp_path: Path) -> None:
    program = """
        const rows = (poll) => {
            const body = document.createElement("tbody");
            for (const [at, key] of ["same", "same", "other", ""].entries()) {
                const row = document.createElement("tr");
                Object.assign(row, { id: `${poll} ${at}` });
                if (key) row.dataset.key = key;
                body.append(row);
            }
            return body;
        };
        const old = rows(0);
        const ids = () => old.children.map((one) => one.id);
        console.log(JSON.stringify([1, 2, 3].map((poll) => {
            morph.morphChildren(old, rows(poll));
            return ids();
        })));
    """
    assert await run(tmp_path, program) == [["0 0", "0 1", "0 2", "0 3"]] * 3


async def test_the_button_of_an_act_keeps_its_act(tmp_path: Path) -> None:
    acts = [
        {"name": "out", "servers": ["a"], "values": {"was": False}},
        {"name": "out", "servers": ["b"], "values": {"was": False}},
        {"name": "serving", "servers": ["a"], "values": {"service": "s", "serving": True, "was": False}},
        {"name": "serving", "servers": ["a"], "values": {"service": "t", "serving": True, "was": False}},
        {"name": "weight", "servers": ["a"], "values": {"was": 1}, "asks": ["weight"]},
        {"name": "weight", "servers": ["a"], "values": {"was": 2}, "asks": ["weight"]},
    ]
    buttons = [{"title": "t", "link": None, "act": act} for act in acts]
    program = """
        const view = { name: "server", given: {}, time: 0, mayAct: true };
        const keys = blocks.blockElements(given, view)[0].all("BUTTON").map((one) => one.dataset.key);
        console.log(JSON.stringify(keys.map((key) => keys.indexOf(key))));
    """
    # A value that the view saw is not part of the act.
    assert await run(tmp_path, program, {"kind": "Buttons", "buttons": buttons}) == [0, 1, 2, 3, 4, 4]


ANSWERS = """
    const dialog = document.createElement("dialog");
    const call = async () => {
        if (given[0].error) throw Object.assign(new Error(given[0].error), given[0]);
        return given;
    };
    acts.openAct(dialog, "a", { name: "out", servers: ["a"] }, call);
    await dialog.firstChild.onsubmit({ preventDefault() {} });
    const told = dialog.firstChild.lastChild.children;
    console.log(JSON.stringify(told.map((one) => [one.className, one.textContent])));
"""


async def test_the_answer_of_an_act_tells_its_effect(tmp_path: Path) -> None:
    def answer(status: int, text: str = "", **values: Any) -> dict[str, Any]:
        return {"server": "a", "status": status, "text": text, "values": values}

    answers = [
        answer(200, before=False, after=True, processes=[1, 2], without=[]),
        answer(200, before=1, after=2, processes=[1], without=[7001, 7002]),
        answer(200, "the registry is away", before=1, after=2, without=[], problem="the registry is away"),
        answer(200, without={"a": 1}),
        answer(409, "the value is another one", now=3),
        answer(504, "it may have been carried out: no answer"),
        answer(0, "the console knows no such server"),
    ]
    assert await run(tmp_path, ANSWERS, *answers) == [
        ["good", "a: done, before: no, after: yes"],
        ["warn", "a: done, before: 1, after: 2, without an answer of process 7001, 7002"],
        ["warn", "a: done, the registry is away, before: 1, after: 2"],
        ["warn", 'a: done, without: {"a":1}'],
        ["bad", "a: refused (409), the value is another one, now: 3"],
        ["bad", "a: no whole answer, it may have been carried out: no answer"],
        ["bad", "a: not sent, the console knows no such server"],
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            {"name": "TimeoutError", "code": 23},
            "there was no answer in time, it may have been carried out",
        ),
        ({"code": "DEADLINE_EXCEEDED"}, "DEADLINE_EXCEEDED: a, it may have been carried out"),
        ({"code": "PERMISSION_DENIED"}, "PERMISSION_DENIED: a"),
    ],
)
async def test_an_act_without_answers_tells_the_reason(
    error: dict[str, Any], text: str, tmp_path: Path
) -> None:
    assert await run(tmp_path, ANSWERS, {"error": "a", **error}) == [["bad", text]]


async def test_the_choice_of_a_log_level_begins_at_the_present_one(tmp_path: Path) -> None:
    program = """
        const fields = given.map((was) => {
            const dialog = document.createElement("dialog");
            acts.openAct(dialog, "a", { name: "log_level", servers: ["a"], values: { was }, asks: ["level"] });
            return dialog.all("SELECT")[0].value ?? "the first one";
        });
        console.log(JSON.stringify(fields));
    """
    assert await run(tmp_path, program, "warning", "unknown", 1) == ["warning", *["the first one"] * 2]
