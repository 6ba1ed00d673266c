"""`fastrpc policy`: its reports on a file of rules for people and build servers."""

import json
from pathlib import Path

import pytest

from tests.support.program import Finished, run_program

APP = """
import contextlib

import fastrpc


@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def balance(self) -> int:
        return 1

    @fastrpc.method
    async def close_all(self) -> None: ...

    @fastrpc.method(public=True)
    async def rates(self) -> int:
        return 2

    @fastrpc.method(roles=["auditor"])
    async def audit(self) -> int:
        return 3


services = [Bank]
app = fastrpc.App(services)


def make() -> fastrpc.App:
    return app


@contextlib.asynccontextmanager
async def opened():
    yield [Bank()]


managed = fastrpc.App([opened])


def made():
    return Bank()


def failing():
    raise LookupError("no database")
"""

POLICY = """
[[rule]]
who = ["ada", "role:auditor"]
allow = ["bank.*"]
deny = ["bank.close_all"]
priority = 2

[[rule]]
who = ["*"]
allow = ["**"]

[[rule]]
who = ["anonymous"]
allow = ["fastrpc.health.check", "bank.rates"]
"""

#: Without the method that refuses callers without identity itself.
FITTING = POLICY.replace('"fastrpc.health.check", ', "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bank.py").write_text(APP)
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


def policy(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", "policy", *arguments], folder, {})


@pytest.mark.parametrize("source", ["services", "Bank", "app", "make", "opened", "managed", "made"])
def test_a_policy_that_fits_its_services_has_no_findings(folder: Path, source: str) -> None:
    (folder / "policy.toml").write_text(FITTING)
    done = policy(folder, "check", "policy.toml", f"bank:{source}")
    assert (done.code, done.output, done.errors) == (0, "3 rules, 0 errors, 0 warnings\n", "")


@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_an_unknown_method_of_a_served_service_is_an_error(folder: Path, strict: list[str]) -> None:
    (folder / "policy.toml").write_text(POLICY.replace("bank.close_all", "bank.close_al"))
    done = policy(folder, "check", "policy.toml", "bank:services", *strict)
    assert done.code == 1
    assert "error    rule 1: 'bank.close_al' is not a method of 'bank'\n" in done.output


@pytest.mark.parametrize("pattern", ["fastrpc.health.chek", "fastrpc.reflection.service"])
def test_an_unknown_method_of_a_built_in_service_is_an_error(folder: Path, pattern: str) -> None:
    (folder / "policy.toml").write_text(POLICY.replace("fastrpc.health.check", pattern))
    assert policy(folder, "check", "policy.toml", "bank:services").code == 1


@pytest.mark.parametrize("pattern", ["shop.pay", "shop.*", "shop.**", "bank.branches.**"])
def test_a_rule_for_a_service_that_is_not_served_is_a_warning_and_an_error_if_strict(
    folder: Path, pattern: str
) -> None:
    (folder / "policy.toml").write_text(FITTING.replace('["bank.*"]', f'["bank.*", "{pattern}"]'))
    text = f"rule 1: '{pattern}' names no service here"
    done = policy(folder, "check", "policy.toml", "bank:services")
    assert (done.code, done.output) == (0, f"warning  {text}\n3 rules, 0 errors, 1 warning\n")
    assert policy(folder, "check", "policy.toml", "bank:services", "--strict").code == 1
    done = policy(folder, "check", "policy.toml", "bank:services", "--strict", "--json")
    assert json.loads(done.output) == {"valid": False, "rules": 3, "errors": [], "warnings": [text]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[rule]", "it is not TOML"),
        ("", "it has no list of rules"),
        ('[[rule]]\nwho = ["ada"]\nalow = ["bank.*"]', "rule 1: it has the unknown key 'alow'"),
        ('[[rule]]\nwho = ["a*"]\nallow = ["bank.*"]', "rule 1: 'a*' is not a pattern of names"),
        ('[[rule]]\nwho = ["ada"]\nallow = ["bank"]', "rule 1: 'bank' is not a pattern of methods"),
        ('[[rule]]\nwho = "ada"\nallow = ["bank.*"]', "rule 1: who is 'ada', it must be a list"),
    ],
)
def test_a_broken_policy_fails_its_check_and_tells_why(folder: Path, content: str, told: str) -> None:
    (folder / "policy.toml").write_text(content)
    done = policy(folder, "check", "policy.toml", "bank:services")
    assert (done.code, done.errors) == (1, "")
    assert told in done.output
    answer = json.loads(policy(folder, "check", "policy.toml", "bank:services", "--json").output)
    assert answer["valid"] is False
    assert told in answer["errors"][0]
    # An unreadable policy cannot be explained.
    done = policy(folder, "explain", "policy.toml", "ada", "bank.balance")
    assert (done.code, done.output) == (2, "")
    assert told in done.errors


def test_wrong_arguments_are_usage_errors(folder: Path) -> None:
    assert "nowhere.toml is not a file" in policy(folder, "check", "nowhere.toml", "bank:services").errors
    assert "there is no module 'bnk'" in policy(folder, "check", "policy.toml", "bnk:services").errors
    assert "did you mean 'services'?" in policy(folder, "check", "policy.toml", "bank:service").errors
    assert (
        "bank:failing cannot be opened: LookupError: no database"
        in policy(folder, "check", "policy.toml", "bank:failing").errors
    )
    for arguments in (
        ["check", "policy.toml", "bank:failing"],
        ["check", "nowhere.toml", "bank:services"],
        ["check", "policy.toml", "bnk:services"],
        ["check", "policy.toml"],
        ["explain", "nowhere.toml", "ada", "bank.balance"],
        ["explain", "policy.toml", "ada", "bank.*"],
        ["explain", "policy.toml", "ada", "balance"],
        ["explain", "policy.toml", "role:auditor", "bank.balance"],
        ["explain", "policy.toml", "*", "bank.balance"],
        ["explain", "policy.toml", "anonymous", "bank.balance", "--role", "auditor"],
        ["explain", "policy.toml", "ada"],
        ["explain", "policy.toml", "eve", "bank.balance", "--role", "role:auditor"],
    ):
        assert policy(folder, *arguments).code == 2, arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["ada", "bank.balance"],
            "allowed: rule 1 allows bank.* to ada, with priority 2\n  rule 2 allows ** to *\n",
        ),
        (["eve", "bank.close_all"], "allowed: rule 2 allows ** to *\n"),
        (
            ["eve", "bank.close_all", "--role", "clerk", "--role", "auditor"],
            (
                "denied: rule 1 denies bank.close_all to role:auditor; a deny comes before every allow\n"
                "  rule 2 allows ** to *\n"
            ),
        ),
        (
            ["eve", "fastrpc.health.check"],
            (
                "denied: no rule allows it: ** leaves out fastrpc.*, which a rule has to name\n"
                "  rule 2 concerns * and names other methods\n"
            ),
        ),
        (
            ["anonymous", "fastrpc.health.check"],
            (
                "denied: fastrpc.health.check is not public: it refuses callers without identity\n"
                "  rule 3 allows fastrpc.health.check to anonymous\n"
            ),
        ),
        (
            ["anonymous", "bank.rates"],
            (
                "allowed if public: rule 3 allows bank.rates to anonymous; any method but a public one refuses callers "
                "without identity (--services tells which it is)\n"
            ),
        ),
        (
            ["anonymous", "bank.rates", "--services", "bank:services"],
            "allowed: rule 3 allows bank.rates to anonymous\n",
        ),
        (
            ["ada", "bank.audit", "--services", "bank:services"],
            (
                "denied: bank.audit demands one of the roles auditor\n"
                "  rule 1 allows bank.* to ada\n"
                "  rule 2 allows ** to *\n"
            ),
        ),
        (
            ["eve", "bank.audit", "--role", "auditor", "--services", "bank:app"],
            "allowed: rule 1 allows bank.* to role:auditor, with priority 2\n  rule 2 allows ** to *\n",
        ),
        (
            ["anonymous", "bank.balance"],
            (
                "denied: no rule allows it: rule 3 of this caller names other methods\n"
                "  rule 3 concerns anonymous and names other methods\n"
            ),
        ),
    ],
)
def test_explain_tells_the_rule_that_decides_and_why(folder: Path, arguments: list[str], told: str) -> None:
    done = policy(folder, "explain", "policy.toml", *arguments)
    assert (done.code, done.output, done.errors) == (0, told, "")


def test_explain_tells_a_caller_whom_no_rule_concerns(folder: Path) -> None:
    (folder / "policy.toml").write_text('[[rule]]\nwho = ["ada"]\nallow = ["**"]')
    done = policy(folder, "explain", "policy.toml", "eve", "bank.balance")
    assert (done.code, done.output) == (0, "denied: no rule concerns this caller\n")


def test_explain_tells_machines_the_same(folder: Path) -> None:
    done = policy(folder, "explain", "policy.toml", "ada", "bank.balance", "--json")
    assert json.loads(done.output) == {
        "allowed": True,
        "allowed_if_public": False,
        "rule": 1,
        "pattern": "bank.*",
        "who": "ada",
        "priority": 2,
        "reason": "rule 1 allows bank.* to ada",
        "considered": [
            {"rule": 1, "who": "ada", "effect": "allows", "pattern": "bank.*"},
            {"rule": 2, "who": "*", "effect": "allows", "pattern": "**"},
        ],
    }


def test_method_that_is_not_public_is_a_warning_for_anonymous(folder: Path) -> None:
    (folder / "policy.toml").write_text(POLICY.replace('"bank.rates"', '"bank.rates", "bank.balance"'))
    found = policy(folder, "check", "policy.toml", "bank:services")
    reason = "which is not public: callers without identity are refused"
    assert found.code == 0
    assert found.output == (
        f"warning  rule 3: 'fastrpc.health.check' allows anonymous fastrpc.health.check, {reason}\n"
        f"warning  rule 3: 'bank.balance' allows anonymous bank.balance, {reason}\n"
        "3 rules, 0 errors, 2 warnings\n"
    )
    assert policy(folder, "check", "policy.toml", "bank:services", "--strict").code == 1
