"""Tokens, rules and certificates on the command line: servers without code for them, and commands that show a token."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.program import Finished, Program, run_program

pytestmark = pytest.mark.one_loop

APP = """
from dataclasses import dataclass

import fastrpc
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.files import FileService


@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def balance(self) -> str:
        return fastrpc.current_call().identity.name

    @fastrpc.method
    async def close_all(self) -> str:
        return "closed"


@fastrpc.service("audit")
class Audit:
    @fastrpc.method(roles=("auditor",))
    async def look(self) -> str:
        return fastrpc.current_call().identity.name


@dataclass
class Book:
    title: str


@dataclass
class Secret:
    book: Book


@fastrpc.service("shelf")
class Shelf:
    @fastrpc.method
    async def title(self, book: Book) -> str:
        return book.title

    @fastrpc.method
    async def store(self, secret: Secret) -> None: ...


services = [Bank, Audit, Shelf, FileService(".", writable=True)]
zoe = StaticTokens({"token-of-zoe": Identity("zoe", roles={"auditor"})})
app = fastrpc.App(
    services, authenticate=zoe, authorize=Policy([{"who": ["zoe"], "allow": ["bank.*", "audit.look"]}])
)
with_rules = fastrpc.App(services, authorize=Policy([{"who": ["*"], "allow": ["bank.*"]}]))
"""

TOKENS = """
[[token]]
token = "token-of-ada"
name = "ada"
roles = ["auditor"]

[[token]]
token = "token-of-eve"
name = "eve"

[[token]]
token = "token-of-max"
name = "max"

[[token]]
token = "token-of-kim"
name = "kim"
"""

POLICY = """
[[rule]]
who = ["role:auditor"]
allow = ["bank.*", "audit.*", "files.*", "fastrpc.health.*", "fastrpc.reflection.*"]

[[rule]]
who = ["eve"]
allow = ["bank.*"]
deny = ["bank.close_all"]

[[rule]]
who = ["max"]
allow = ["**", "fastrpc.reflection.*"]
deny = ["shelf.store"]

[[rule]]
who = ["kim"]
allow = ["**"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    for name, text in (
        ("bank.py", APP),
        ("tokens.toml", TOKENS),
        ("policy.toml", POLICY),
        ("ada", "token-of-ada\n"),
        ("eve", "  token-of-eve"),
        ("max", "token-of-max"),
        ("kim", "token-of-kim"),
        ("zoe", "token-of-zoe"),
        ("unknown", "token-of-mallory"),
    ):
        (folder / name).write_text(text)
    return folder


def command(folder: Path, *arguments: str, token: str | None = None, **environment: str) -> Finished:
    shown = [] if token is None else ["--token-file", token]
    return run_program(["-m", "fastrpc", *arguments, *shown], folder, environment)


def serving(folder: Path, *arguments: str, **environment: str) -> Program:
    options = ["--log-level", "warning", "-a", "tcp://127.0.0.1:0"]
    return Program(["-m", "fastrpc", "run", *options, *arguments], folder, environment)


def address_of(program: Program) -> str:
    return program.wait_output(r"serving at (\S+)")[1]


@pytest.fixture(scope="module")
def bank(folder: Path) -> Iterator[str]:
    with serving(folder, "bank:services", "--tokens", "tokens.toml", "--policy", "policy.toml") as program:
        yield address_of(program)


class TestCallersWithPartOfTheRights:
    def test_list_shows_the_methods_that_a_caller_may_call(self, folder: Path, bank: str) -> None:
        done = command(folder, "list", bank, "shelf", token="max")
        assert (done.code, done.output) == (0, "shelf\n  title(book: Book) -> str\n")

    def test_a_contract_has_the_types_of_these_methods_alone(self, folder: Path, bank: str) -> None:
        done = command(folder, "contract", bank, token="max")
        note = f"note: {bank} lists only the methods that this caller may call"
        assert (done.code, " ".join(done.errors.split())) == (0, note)
        assert "class Book:\n    title: str\n" in done.output
        assert "async def title(self, book: Book) -> str: ..." in done.output
        assert "Secret" not in done.output
        assert "store" not in done.output

    def test_arguments_are_read_by_their_types(self, folder: Path, bank: str) -> None:
        # By a type that is known, a text of digits stays a text.
        done = command(folder, "call", bank, "shelf.title", '{"title": "Dune"}', token="max")
        assert (done.code, done.output) == (0, '"Dune"\n')
        done = command(folder, "call", bank, "fastrpc.reflection.services", "--json", token="max")
        shelf = next(one for one in json.loads(done.output)["value"] if one["name"] == "shelf")
        assert [one["name"] for one in shelf["types"]] == ["Book"]

    @pytest.mark.parametrize(
        ("arguments", "pattern"),
        [
            (("list",), "fastrpc.reflection.*"),
            (("contract",), "fastrpc.reflection.*"),
            (("health",), "fastrpc.health.*"),
        ],
    )
    def test_a_refused_command_names_the_pattern_that_allows_it(
        self, folder: Path, bank: str, arguments: tuple[str, ...], pattern: str
    ) -> None:
        done = command(folder, *arguments, bank, token="kim")
        assert done.code == 1
        assert "error: PERMISSION_DENIED: fastrpc." in done.errors
        hint = f'hint: in a policy `**` leaves out fastrpc.*; this pattern allows it: allow = ["{pattern}"]\n'
        assert hint in done.errors

    def test_a_refusal_of_another_method_names_no_pattern(self, folder: Path, bank: str) -> None:
        done = command(folder, "call", bank, "bank.close_all", token="eve")
        assert "`**`" not in done.errors


class TestServersByOptions:
    def test_a_token_and_a_rule_allow_a_caller(self, folder: Path, bank: str) -> None:
        assert command(folder, "call", bank, "bank.balance", token="ada").output == '"ada"\n'
        assert command(folder, "call", bank, "bank.balance", token="eve").output == '"eve"\n'
        assert command(folder, "call", bank, "audit.look", token="ada").output == '"ada"\n'

    @pytest.mark.parametrize(
        "method", ["bank.close_all", "audit.look", "fastrpc.health.check", "bank.unknown"]
    )
    def test_a_rule_keeps_a_caller_out(self, folder: Path, bank: str, method: str) -> None:
        done = command(folder, "call", bank, method, token="eve")
        assert (done.code, done.output) == (1, "")
        assert f"PERMISSION_DENIED: {method}" in done.errors

    @pytest.mark.parametrize("token", [None, "unknown"])
    def test_without_a_known_token_nothing_may_be_called(
        self, folder: Path, bank: str, token: str | None
    ) -> None:
        done = command(folder, "call", bank, "bank.balance", token=token)
        assert (done.code, done.output) == (1, "")
        assert "error: UNAUTHENTICATED: " in done.errors
        assert "hint: show a token that the server knows: --token-file FILE" in done.errors
        assert "mallory" not in done.errors

    def test_tokens_without_a_policy_need_an_identity_alone(self, folder: Path) -> None:
        with serving(folder, "bank:Bank", "--tokens", "tokens.toml", "--workers", "2") as program:
            address = address_of(program)
            assert command(folder, "call", address, "bank.close_all", token="eve").output == '"closed"\n'
            assert command(folder, "call", address, "bank.close_all").code == 1

    def test_the_options_stand_in_the_environment_and_in_a_file_too(self, folder: Path) -> None:
        (folder / "settings.toml").write_text('tokens = "tokens.toml"\naddress = "tcp://127.0.0.1:0"\n')
        environment = {"FASTRPC_POLICY": "policy.toml", "FASTRPC_TOKEN": "token-of-eve"}
        arguments = ["-m", "fastrpc", "run", "bank:services", "--config", "settings.toml"]
        with Program(arguments, folder, environment) as program:
            address = address_of(program)
            assert command(folder, "call", address, "audit.look", token="eve").code == 1
            assert command(folder, "call", address, "audit.look", token="ada").code == 0
            # The token of commands is no misspelt setting.
            assert "warning" not in program.errors

    def test_changed_files_count_without_a_restart(self, folder: Path, tmp_path: Path) -> None:
        for name in ("tokens.toml", "policy.toml"):
            (tmp_path / name).write_text((folder / name).read_text())
        (tmp_path / "new").write_text("token-of-new")
        tokens, policy = str(tmp_path / "tokens.toml"), str(tmp_path / "policy.toml")
        with serving(folder, "bank:services", "--tokens", tokens, "--policy", policy) as program:
            address = address_of(program)
            new = str(tmp_path / "new")
            assert command(folder, "call", address, "bank.balance", token=new).code == 1
            (tmp_path / "tokens.toml").write_text('[[token]]\ntoken = "token-of-new"\nname = "eve"')
            (tmp_path / "policy.toml").write_text('[[rule]]\nwho = ["eve"]\nallow = ["bank.close_all"]')
            # Files count once two looks agree, which are a second apart.
            codes = (command(folder, "call", address, "bank.close_all", token=new).code for _ in range(60))
            assert 0 in codes
            assert command(folder, "call", address, "bank.close_all", token="ada").code == 1
            assert command(folder, "call", address, "bank.balance", token=new).code == 1


class TestApps:
    def test_an_app_brings_its_authentication_and_policy(self, folder: Path) -> None:
        with serving(folder, "bank:app") as program:
            address = address_of(program)
            assert command(folder, "call", address, "audit.look", token="zoe").output == '"zoe"\n'
            assert command(folder, "call", address, "fastrpc.health.check", token="zoe").code == 1
            assert command(folder, "call", address, "bank.balance", token="ada").code == 1

    def test_a_development_server_has_the_same_callers(self, folder: Path) -> None:
        arguments = ["-m", "fastrpc", "dev", "bank:app", "-a", "tcp://127.0.0.1:0"]
        with Program(arguments, folder) as program:
            address = address_of(program)
            assert command(folder, "call", address, "audit.look", token="zoe").output == '"zoe"\n'
            assert command(folder, "call", address, "audit.look").code == 1

    def test_options_win_over_an_app(self, folder: Path) -> None:
        options = ("--tokens", "tokens.toml", "--policy", "policy.toml")
        with serving(folder, "bank:app", *options) as program:
            address = address_of(program)
            assert command(folder, "call", address, "bank.balance", token="zoe").code == 1
            assert command(folder, "call", address, "bank.balance", token="eve").output == '"eve"\n'
        with serving(folder, "bank:app", "--tokens", "tokens.toml") as program:
            # Its own rules still hold, and name nobody of these.
            assert command(folder, "call", address_of(program), "bank.balance", token="eve").code == 1

    def test_rules_of_an_app_take_the_tokens_of_the_options(self, folder: Path) -> None:
        with serving(folder, "bank:with_rules", "--tokens", "tokens.toml") as program:
            assert command(folder, "call", address_of(program), "bank.balance", token="eve").code == 0


class TestCommandsWithATokenFile:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("health", "ADDRESS"),
            ("list", "ADDRESS"),
            ("contract", "ADDRESS"),
            ("call", "ADDRESS", "bank.balance"),
            ("bench", "ADDRESS", "bank.balance", "-d", "0.05"),
            ("put", "ADDRESS", "bank.py", "copied-bank.py"),
            ("get", "ADDRESS", "bank.py", "got-bank.py"),
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_each_shows_the_token_of_a_file_or_of_the_environment(
        self, folder: Path, bank: str, arguments: tuple[str, ...]
    ) -> None:
        told = [bank if one == "ADDRESS" else one for one in arguments]
        assert command(folder, *told, token="ada").code == 0
        assert command(folder, *told, FASTRPC_TOKEN="token-of-ada").code == 0
        refused = command(folder, *told)
        assert refused.code == 1
        assert "UNAUTHENTICATED" in refused.errors
        # The option counts more.
        assert command(folder, *told, token="unknown", FASTRPC_TOKEN="token-of-ada").code == 1

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "the token file 'wrong' cannot be read: No such file or directory"),
            ("", "the token file 'wrong': a token is empty"),
            (" \n", "the token file 'wrong': a token is empty"),
            ("two words", "the token file 'wrong': a token has a character that is not visible ASCII"),
            ("x" * 8_001, "the token file 'wrong': a token has 8,001 characters, the limit is 8,000"),
        ],
    )
    def test_a_file_that_holds_no_token_is_a_usage_error(
        self, folder: Path, bank: str, content: str | None, told: str
    ) -> None:
        (folder / "wrong").unlink(missing_ok=True)
        if content is not None:
            (folder / "wrong").write_text(content)
        done = command(folder, "call", bank, "bank.balance", token="wrong")
        assert done.code == 2
        assert told in done.errors
        assert "two words" not in done.errors

    def test_a_wrong_variable_is_a_usage_error_without_the_token_in_it(self, folder: Path, bank: str) -> None:
        done = command(folder, "health", bank, FASTRPC_TOKEN="planted secret")
        assert (done.code, "error: FASTRPC_TOKEN: a token has a character" in done.errors) == (2, True)
        assert "planted" not in done.output + done.errors

    def test_a_token_does_not_travel_in_the_clear(self, folder: Path) -> None:
        done = command(folder, "call", "tcp://192.0.2.1:9", "bank.balance", token="ada")
        assert done.code == 2
        assert "error: the token would travel in the clear to tcp://192.0.2.1:9" in done.errors
        assert "hint: give an address that is tls://" in done.errors

    def test_no_option_takes_a_token_itself(self, folder: Path, bank: str) -> None:
        done = command(folder, "health", bank, "--token", "token-of-ada")
        assert done.code == 2


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The URL of a store that asks for tokens, and the options that its certificate needs."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    shown = authority.certificate()
    options = ["--tls-cert", str(shown.cert_file), "--tls-key", str(shown.key_file)]
    options += ["-a", "tls://127.0.0.1:0", "--tokens", "tokens.toml", "--json"]
    with Program(["-m", "fastrpc", "store", *options], folder) as program:
        url = json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]
        yield url, "--ca", str(authority.cert_file)


class TestCommandsOfStoresWithATokenFile:
    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            ("kv put STORE k v", 0),
            ("kv get STORE none", 1),
            ("kv delete STORE none", 1),
            ("kv list STORE", 0),
            ("leader STORE none", 1),
            ("store backup STORE copy-by-RUN", 0),
            ("lock STORE jobs OPTIONS -- true", 0),
            ("elect STORE shop OPTIONS -- true", 0),
        ],
    )
    def test_each_shows_the_token_of_a_file_or_of_the_environment(
        self, folder: Path, store: tuple[str, ...], arguments: str, code: int
    ) -> None:
        url, *options = store

        def run(*shown: str, **environment: str) -> Finished:
            told = arguments.replace("STORE", url).replace("RUN", "-".join(shown)).split()
            place = told.index("OPTIONS") if "OPTIONS" in told else len(told)
            return command(folder, *told[:place], *options, *shown, *told[place + 1 :], **environment)

        assert (run("--token-file", "ada").code, run(FASTRPC_TOKEN="token-of-ada").code) == (code, code)
        refused = run("--token-file", "unknown")
        assert (refused.code, "the credential is not accepted" in refused.errors) == (1, True)

    def test_a_token_in_the_url_counts_more(self, folder: Path, store: tuple[str, ...]) -> None:
        url, *options = store
        named = f"{url}&token_file=ada"
        assert command(folder, "kv", "list", named, *options, token="unknown").code == 0
        assert command(folder, "kv", "list", url, *options, token="nowhere").code == 2

    def test_a_store_without_tokens_does_not_get_the_token_of_the_environment(self, folder: Path) -> None:
        done = command(folder, "kv", "put", f"sqlite://{folder}/kept", "k", "1", FASTRPC_TOKEN="token-of-ada")
        assert done.code == 0


class TestWrongFilesOfServers:
    @pytest.mark.parametrize(
        ("options", "code", "told"),
        [
            (("--tokens", "nowhere"), 2, "the file of tokens 'nowhere' cannot be read"),
            (("--tokens", "bank.py"), 2, "the file of tokens 'bank.py': it is not TOML"),
            (("--tokens", "policy.toml"), 2, "the file of tokens 'policy.toml'"),
            (("--tokens", "tokens.toml", "--policy", "nowhere"), 2, "the policy 'nowhere' cannot be read"),
            (("--tokens", "tokens.toml", "--policy", "tokens.toml"), 2, "it has the unknown key 'token'"),
            (("--policy", "policy.toml"), 3, "authorize is given without authenticate"),
            (
                ("--tokens", "tokens.toml", "--policy", "unfit.toml"),
                3,
                "'bank.close' is not a method of 'bank'",
            ),
        ],
    )
    def test_a_server_with_a_wrong_file_tells_which_and_does_not_start(
        self, folder: Path, options: tuple[str, ...], code: int, told: str
    ) -> None:
        (folder / "unfit.toml").write_text('[[rule]]\nwho = ["*"]\nallow = ["bank.close"]')
        done = command(folder, "run", "bank:services", "-a", "tcp://127.0.0.1:0", *options)
        assert (done.code, done.output) == (code, "")
        assert told in done.errors
        assert "token-of" not in done.errors

    @pytest.mark.parametrize(
        ("options", "code", "told"),
        [
            (("--tls-cert", "ada"), 2, "--tls-cert encrypts nothing: no address is tls://"),
            (("-a", "tls://127.0.0.1:0"), 3, "tls"),
            (("-a", "tls://127.0.0.1:0", "--tls-key", "ada"), 2, "cert_file is None"),
            (("-a", "tls://127.0.0.1:0", "--tls-ca", "ada"), 3, "TLS.cert_file is None"),
            (("-a", "tls://127.0.0.1:0", "--tls-cert", "nowhere"), 3, "nowhere"),
            (("-a", "tls://127.0.0.1:0", "--tls-cert", "ada"), 3, "TLS.cert_file"),
        ],
    )
    def test_a_server_with_wrong_certificates_says_which_one_is_wrong(
        self, folder: Path, options: tuple[str, ...], code: int, told: str
    ) -> None:
        done = command(folder, "run", "bank:Bank", *options)
        assert (done.code, done.output) == (code, "")
        assert told in done.errors


def test_a_server_with_tls_and_tokens_needs_no_code(folder: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown, other = authority.certificate(), authority.certificate("DNS:ada.corp", purpose="clientAuth")
    options = ["--tls-cert", str(shown.cert_file), "--tls-key", str(shown.key_file)]
    options += ["--tls-ca", str(authority.cert_file), "--tokens", "tokens.toml", "--policy", "policy.toml"]
    arguments = ["-m", "fastrpc", "run", "bank:services", "-a", "tls://127.0.0.1:0", "--json", *options]
    with Program(arguments, folder) as program:
        address = json.loads(program.wait_output(r"(.*)\n")[1])["addresses"][0]
        ca = ("--ca", str(authority.cert_file))
        certificate = ("--cert", str(other.cert_file), "--key", str(other.key_file))
        done = command(folder, "call", address, "bank.balance", *ca, *certificate, token="eve")
        assert (done.code, done.output) == (0, '"eve"\n')
        # Each of the three is needed.
        assert command(folder, "call", address, "bank.balance", *ca, *certificate).code == 1
        for shown_by, hint in ((ca, "hint: set --cert and --key"), (certificate, "hint: set --ca to")):
            done = command(folder, "call", address, "bank.balance", *shown_by, token="eve")
            assert done.code == 1
            assert hint in done.errors
        program.signal(signal.SIGTERM)
        assert program.wait().code == 0
