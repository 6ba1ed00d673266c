"""The modules of `/docs` that need no browser: values by their schemas, and calls as commands that run."""

import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import current_call
from fastrpc.auth import Identity, StaticTokens
from fastrpc.config import OpenAPI
from fastrpc.console.service import ConsoleActService
from fastrpc.openapi.document import openapi_document
from fastrpc.rpc.service import service_definition
from tests.support.copied_forms import FORMS, run_form
from tests.support.described import described
from tests.support.every_type import EveryType
from tests.support.node import needs_node, run_module
from tests.support.typed_calls import TYPED_CALLS, plain

pytestmark = [pytest.mark.one_loop, needs_node]

#: Texts that shells, JSON or the types of the command line could take for something else.
HOSTILE = (
    "",
    "null",
    "True",
    "5",
    '"5"',
    "-",
    "--help",
    "a=b",
    "it's",
    "$(id) `id` $HOME \\ \\n %s !! ~",
    "two\nlines\tand \u202e\u200bmarks \u3164\u034f\ufe0f\u2800\U000e0041'\u200b",
    "ü 漢 😀 </script>",
    "@/etc/passwd",
    "{'a': 1}",
    "[1, 2]",
)


@fastrpc.service("told")
class Told:
    @fastrpc.method
    async def back(
        self,
        text: str,
        b: str = "",
        c: str = "",
        d: str = "",
        e: str = "",
        more: Any = None,
        maybe: str | None = None,
    ) -> list[Any]:
        return [text, b, c, d, e, more, maybe]

    @fastrpc.method
    async def beside(self, text: str) -> list[Any]:
        """Return the facts that came in addition to the arguments."""
        call = current_call()
        named = [call.metadata.get(key) for key in ("tenant", "empty")]
        return [*named, call.remaining is not None, call.identity and call.identity.name]


async def run(folder: Path, program: str, *arguments: Any) -> Any:
    """Run a program that has the modules of the page, and `given`, a list of values."""
    shutil.copytree(Path(str(resources.files("fastrpc.openapi"))) / "site", folder / "site")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "given.json").write_text(json.dumps(arguments))
    names = ("commands", "method", "schemas", "values")
    lines = [f'import * as {name} from "./site/{name}.js";' for name in names]
    lines += [
        'import { readFileSync } from "node:fs";',
        'const given = JSON.parse(readFileSync("given.json", "utf8"));',
    ]
    (folder / "main.js").write_text("\n".join([*lines, program]))
    return await run_module(folder / "main.js")


async def commands_of(
    folder: Path, base: str, calls: list[dict[str, Any]], **facts: Any
) -> list[dict[str, str]]:
    """Return each form of calls as text, or its error; of `told.back`, unless the facts name another method."""
    program = """
        const form = (make) => { try { return make(); } catch (error) { return error.message; } };
        const [facts, calls] = given;
        console.log(JSON.stringify(calls.map((args) => {
            const texts = new Set("text b c d e".split(" "));
            const made = commands.commands({ timeout: undefined, metadata: {}, ...facts, args, texts });
            return Object.fromEntries(Object.entries(made).map(([name, make]) => [name, form(make)]));
        })));
    """
    usual = {"base": base, "method": "told.back", "messages": None, "hasToken": False, "givesStream": False}
    return list(await run(folder, program, usual | facts, calls))


async def test_each_copied_form_runs_and_gives_the_same(tmp_path: Path) -> None:
    async with described(Told()) as serving:
        names = ("text", "b", "c", "d", "e")
        groups = [HOSTILE[at : at + len(names)] for at in range(0, len(HOSTILE), len(names))]
        calls = [
            dict(zip(names, group, strict=True)) | {"more": [*group, {group[0]: 2**53}], "maybe": group[0]}
            for group in groups
        ]
        for call, forms in zip(calls, await commands_of(tmp_path, f"{serving.origin}/", calls), strict=True):
            for form in FORMS:
                text = forms[form]
                assert await run_form(form, text, tmp_path) == list(call.values()), (form, text)
                assert not {*text} & {*"\u202e\u200b\u3164\u034f\ufe0f\u2800\U000e0041"}, (form, text)


async def test_each_form_passes_metadata_and_timeout_and_reads_the_token_at_run_time(
    tmp_path: Path,
) -> None:
    tokens = StaticTokens({"s3cret": Identity("ada")})
    facts = {
        "method": "told.beside",
        "metadata": {"tenant": "it's 100% ü", "empty": ""},
        "timeout": 7.5,
        "hasToken": True,
    }
    async with described(Told(), authenticate=tokens) as serving:
        (forms,) = await commands_of(tmp_path, f"{serving.origin}/", [{"text": "a"}], **facts)
        for form in FORMS:
            found = await run_form(form, forms[form], tmp_path, FASTRPC_TOKEN="s3cret")
            assert found == ["it's 100% ü", "", True, "ada"], form


async def test_the_last_calls_are_bounded_in_characters(tmp_path: Path) -> None:
    program = """
        const calls = await import("./site/calls.js");
        console.log(JSON.stringify(given.map((sizes) => {
            const made = (size, number) => ({ method: `a.${number}`, args: "x".repeat(size), input: "", settings: {} });
            return calls.bounded(sizes.map(made)).map(({ method }) => method);
        })));
    """
    found = await run(tmp_path, program, [1] * 60, [9_999_999, 5, 900_000, 200_000, 7])
    assert found == [[f"a.{number}" for number in range(50)], ["a.1", "a.2", "a.4"]]


async def test_a_form_that_cannot_run_names_the_reason(tmp_path: Path) -> None:
    calls = [{"text": "\x1b[201~\nrm"}, {"größe": 1}]
    control, name = await commands_of(tmp_path, "https://a.example/", calls)
    assert control["fastrpc call"] == "text: fastrpc call takes no control characters"
    assert "größe" in name["fastrpc call"]
    # In the other forms they are escaped.
    for form in ("curl", "Python"):
        assert "\x1b" not in control[form]
        assert "\\u001b[201~\\nrm" in control[form]
    shutil.rmtree(tmp_path / "site")
    (below,) = await commands_of(tmp_path, "https://a.example/api/", [{"text": "a"}])
    assert below["fastrpc call"] == "fastrpc call: takes host and port, and this server is at /api/"
    assert "https://a.example/api/told/back" in below["curl"]


@pytest.mark.parametrize("version", ["3.1", "3.2"])
async def test_arguments_of_a_typed_client_fit_their_schema_and_an_example_does(
    tmp_path: Path, version: Any
) -> None:
    document = openapi_document([service_definition(EveryType())], about=OpenAPI(specification=version))
    program = """
        const [document, calls] = given;
        const types = new schemas.Types(document.components.schemas);
        console.log(JSON.stringify(calls.map(([path, args]) => {
            const body = schemas.schemaOf(Object.values(document.paths[path].post.requestBody.content)[0]);
            const schema = body.anyOf ? body.anyOf[0].properties.arguments ?? {} : body;
            return [types.fits(schema, args), types.fits(schema, types.example(schema)), types.fits(schema, { no: 1 })];
        })));
    """
    calls = [(f"/{call.name.replace('.type.', '.type/')}", plain(call.arguments)) for call in TYPED_CALLS]
    for (path, _), found in zip(calls, await run(tmp_path, program, document, calls), strict=True):
        # A method without arguments but a stream has no schema of them.
        assert found == [True, True, path.endswith("/talk")], path


async def test_the_token_of_an_operator_is_a_secret(tmp_path: Path) -> None:
    of_fleet: Any = ConsoleActService
    document = openapi_document([service_definition(of_fleet(None))], about=OpenAPI())
    program = """
        const [document, path] = given;
        const types = new schemas.Types(document.components.schemas);
        const body = document.paths[path].post.requestBody.content["application/json"].schema;
        console.log(JSON.stringify(types.parted(body).map((one) => [Object.keys(one.properties), one.required])));
    """
    shown = ["name", "servers", "values"]
    assert await run(tmp_path, program, document, "/fastrpc.console.act/act") == [
        [shown, shown],
        [["token"], ["token"]],
    ]


async def test_json_keeps_every_digit_and_wrong_input_names_its_field(tmp_path: Path) -> None:
    program = """
        const { readJSON, writeJSON, readInteger } = values;
        const told = (error) => [error.name, error.path, error.message.split(":")[0]];
        const wrong = (act) => { try { act(); } catch (error) { return told(error); } };
        console.log(JSON.stringify([
            writeJSON(readJSON("a", '{"a": 9223372036854775809, "b": -9007199254740993, "c": 1.5, "d": 1e30}')),
            ["12", " -7 ", "9007199254740993", "1.5", "", "x"].map((one) => String(readInteger(one))),
            wrong(() => readJSON("order.lines", "[1,")),
        ]));
    """
    assert await run(tmp_path, program) == [
        '{"a":9223372036854775809,"b":-9007199254740993,"c":1.5,"d":1e+30}',
        ["12", "-7", "9007199254740993", "undefined", "undefined", "undefined"],
        ["WrongInput", "order.lines", "order.lines"],
    ]


async def test_any_path_of_a_mistake_ends_and_leads_from_the_field_to_its_holders(tmp_path: Path) -> None:
    paths = {
        "order.lines[0].item": ["order.lines[0].item", "order.lines[0]", "order.lines", "order"],
        'scores["a.b]"].x': ['scores["a.b]"].x', 'scores["a.b]"]', "scores"],
        r'scores["\"]"]': [r'scores["\"]"]', "scores"],
        "scores[...]": ["scores[...]", "scores"],
        "größe": ["größe"],
        "a]": ["a"],
        "lines[0].": ["lines[0]", "lines"],
        "lines[": ["lines"],
        "]": [],
        "": [],
    }
    long = ["a" * 2_000_000, "[" * 2_000_000, "a." * 1_000_000, '["' * 1_000_000, "a]" * 1_000_000]
    program = """
        const [paths, long] = given;
        console.log(JSON.stringify([
            paths.map((one) => values.placesOf(one)),
            Math.max(...long.map((one) => values.placesOf(one).length)),
        ]));
    """
    found, most = await run(tmp_path, program, list(paths), long)
    assert dict(zip(paths, found, strict=True)) == paths
    assert most <= 100


async def test_of_the_details_of_an_error_only_texts_are_taken(tmp_path: Path) -> None:
    wrong: list[Any] = [
        None,
        5,
        "a",
        [],
        {"path": 1},
        {"path": "a"},
        {"path": "", "expected": "int", "got": "str"},
    ]
    right = {"path": "a", "expected": "`int`", "got": "`str`"}
    details = [*wrong, right, {**right, "path": ["a"]}, {**right, "got": None}]
    program = "console.log(JSON.stringify(given.map((one) => values.mistakesIn(one))));"
    found = await run(tmp_path, program, details, None, "a", {"path": "a"}, [right] * 1_000)
    assert found[:4] == [[["a", "expected `int`, got `str`"]], [], [], []]
    assert len(found[4]) == 100


async def test_an_address_that_is_no_encoded_text_names_no_method(tmp_path: Path) -> None:
    program = "console.log(JSON.stringify(given.map((one) => method.methodAt(one))));"
    assert await run(tmp_path, program, "#a.b", "#gr%C3%B6%C3%9Fe.b", "", "#100%", "#%ff") == [
        "a.b",
        "größe.b",
        "",
        "100%",
        "%ff",
    ]
