"""Policies: who is meant, which methods are meant, and that no other spelling gets through."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from fastrpc.auth import Identity, Policy, Route
from fastrpc.errors import ConfigError
from fastrpc.patterns import KeyPattern
from tests.support.spellings import other_spellings

ALICE = Identity("alice")
ADMIN = Identity("bob", roles={"admin"})
WEB = Identity("spiffe://corp/web")


def allows(identity: Identity | None, method: str, **rule: Any) -> bool:
    return Policy([rule])(identity, Route.named(method))


@pytest.mark.parametrize(
    ("who", "identity", "is_meant"),
    [
        ("alice", ALICE, True),
        ("alice", ADMIN, False),
        ("alice", None, False),
        ("role:admin", ADMIN, True),
        ("role:admin", Identity("admin"), False),
        ("admin", ADMIN, False),
        ("role:*", ADMIN, True),
        ("role:*", ALICE, False),
        ("*", ALICE, True),
        ("*", None, False),
        ("anonymous", None, True),
        ("anonymous", ALICE, False),
        ("spiffe://corp/*", WEB, True),
        ("spiffe://corp/*", Identity("spiffe://corp"), False),
        ("spiffe://corp/*", Identity("spiffe://corporate/web"), False),
        ("spiffe://*", WEB, True),
        ("corp.*", Identity("corp.web"), True),
        ("corp.*", Identity("corpweb"), False),
    ],
)
def test_callers_that_a_rule_matches(who: str, identity: Identity | None, is_meant: bool) -> None:
    assert allows(identity, "shop.pay", who=[who], allow=["shop.pay"]) is is_meant


@pytest.mark.parametrize(
    ("pattern", "method", "fits"),
    [
        ("shop.pay", "shop.pay", True),
        ("shop.pay", "shop.payment", False),
        ("shop.pay", "shop.Pay", False),
        ("shop.*", "shop.pay", True),
        ("shop.*", "shop.orders.list", False),
        ("shop.*", "shopping.pay", False),
        ("shop.**", "shop.pay", True),
        ("shop.**", "shop.orders.list", True),
        ("shop.**", "shopping.pay", False),
        ("**", "shop.orders.list", True),
        ("**", "fastrpc.health.check", False),
        ("fastrpc.**", "fastrpc.health.check", True),
        ("fastrpc.health.*", "fastrpc.health.check", True),
        ("fastrpc.health.*", "fastrpc.reflection.services", False),
        ("fastrpc.*", "fastrpc.health.check", False),
    ],
)
def test_which_methods_a_rule_is_for(pattern: str, method: str, fits: bool) -> None:
    assert allows(ALICE, method, who=["*"], allow=[pattern]) is fits


def test_a_policy_has_no_subclasses() -> None:
    """What one did in `__call__` would be passed over."""
    with pytest.raises(TypeError, match="Strict cannot be a subclass of Policy: write a function"):

        class Strict(Policy):  # type: ignore[misc]
            pass


def test_a_deny_of_any_rule_comes_before_every_allow() -> None:
    rules = [
        {"who": ["alice"], "allow": ["bank.**"]},
        {"who": ["*"], "deny": ["bank.close_all"]},
        {"who": ["role:admin"], "allow": ["bank.close_all"]},
    ]
    both = Identity("alice", roles={"admin"})
    for order in itertools.permutations(rules):
        policy = Policy(order)
        assert policy(both, Route.named("bank.balance"))
        assert not policy(both, Route.named("bank.close_all"))


def test_methods_that_no_rule_allows_are_denied() -> None:
    policy = Policy([{"who": ["alice"], "deny": ["shop.pay"]}])
    assert not policy(ALICE, Route.named("shop.list"))
    assert not policy(None, Route.named("shop.list"))


def test_priority_needs_an_allowing_rule_that_has_it() -> None:
    policy = Policy(
        [
            {"who": ["alice"], "allow": ["shop.*"]},
            {"who": ["alice", "bob"], "allow": ["shop.pay"], "priority": 2},
            {"who": ["bob"], "allow": ["shop.list"]},
        ]
    )
    assert policy.decide(ALICE, "shop.pay").is_high
    assert not policy.decide(ALICE, "shop.list").is_high
    assert policy.decide(Identity("bob"), "shop.pay").is_high
    assert not policy.decide(Identity("bob"), "shop.list").is_high


def test_a_decision_names_its_rule() -> None:
    policy = Policy(
        [{"who": ["bob"], "allow": ["**"]}, {"who": ["*"], "allow": ["shop.*"], "deny": ["shop.drop"]}]
    )
    assert (policy.decide(ALICE, "shop.pay").rule, policy.decide(ALICE, "shop.pay").pattern) == (2, "shop.*")
    assert (policy.decide(ALICE, "shop.drop").rule, policy.decide(ALICE, "shop.drop").pattern) == (
        2,
        "shop.drop",
    )
    assert policy.decide(ALICE, "bank.pay").rule is None


def test_rights_of_a_registry_go_by_service() -> None:
    policy = Policy([{"who": ["alice"], "register": ["shop.*"], "read": ["**"]}])
    assert policy.may_register(ALICE, "shop")
    assert not policy.may_register(ALICE, "shop.orders")
    assert not policy.may_register(ALICE, "bank")
    assert not policy.may_register(None, "shop")
    assert policy.may_read(ALICE, "bank")
    assert not policy.may_read(ALICE, "fastrpc.registry")
    assert not policy(ALICE, Route.named("shop.pay"))


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"who": ["*"]},
        {"allow": ["**"]},
        {"who": [], "allow": ["**"]},
        {"who": "alice", "allow": ["**"]},
        {"who": ["*"], "allow": "**"},
        {"who": ["*"], "allow": []},
        {"who": ["a*"], "allow": ["**"]},
        {"who": ["*a"], "allow": ["**"]},
        {"who": ["a/*/b"], "allow": ["**"]},
        {"who": ["**"], "allow": ["**"]},
        {"who": ["role:"], "allow": ["**"]},
        {"who": [""], "allow": ["**"]},
        {"who": [" alice"], "allow": ["**"]},
        {"who": ["al\u200bice"], "allow": ["**"]},
        {"who": [7], "allow": ["**"]},
        {"who": ["*"], "allow": ["*"]},
        {"who": ["*"], "allow": ["shop"]},
        {"who": ["*"], "allow": ["shop.p*"]},
        {"who": ["*"], "allow": ["*.pay"]},
        {"who": ["*"], "allow": ["shop..pay"]},
        {"who": ["*"], "allow": ["shop.***"]},
        {"who": ["*"], "allow": [".**"]},
        {"who": ["*"], "allow": ["shop.pay "]},
        {"who": ["*"], "allow": ["**"], "priority": 1},
        {"who": ["*"], "allow": ["**"], "priority": True},
        {"who": ["*"], "deny": ["**"], "priority": 2},
        {"who": ["*"], "allow": ["**"], "allows": ["**"]},
        {"who": ["*"], "register": ["shop.pay"]},
    ],
)
def test_invalid_rules_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rule 1: "):
        Policy([rule])


def test_a_policy_without_rules_is_refused() -> None:
    with pytest.raises(ConfigError, match="every call would be denied"):
        Policy([])


class TestFiles:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.toml"
        path.write_text('[[rule]]\nwho = ["alice"]\nallow = ["shop.*"]\npriority = 2\n')
        policy = Policy.from_file(path)
        assert policy.decide(ALICE, "shop.pay").is_high
        path.write_text('[[rule]]\nwho = ["alice"]\nallow = ["bank.*"]\n')
        policy.reload()
        assert not policy(ALICE, Route.named("shop.pay"))
        assert policy.version == 1

    def test_a_broken_file_keeps_the_old_rules(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "policy.toml"
        path.write_text('[[rule]]\nwho = ["alice"]\nallow = ["shop.*"]\n')
        policy = Policy.from_file(path)
        path.write_text('[[rule]]\nwho = ["alice"]\nallow = ["shop.')
        policy.reload()
        assert policy(ALICE, Route.named("shop.pay"))
        assert policy.version == 0
        assert "the policy cannot be used, the old content stays" in caplog.text

    @pytest.mark.parametrize(
        "content", ["", "rule = 7", "[[rules]]\n", '[rule]\nwho = ["a"]', "[[rule]]\n[x]\n"]
    )
    def test_a_file_of_another_shape_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "policy.toml"
        path.write_text(content)
        with pytest.raises(ConfigError, match="policy.toml"):
            Policy.from_file(path)


def test_patterns_are_compared_with_the_names_of_a_server() -> None:
    policy = Policy(
        [
            {"who": ["*"], "allow": ["shop.pay", "shop.*", "shop.**", "**"]},
            {"who": ["*"], "allow": ["shop.pya"], "deny": ["bank.*", "shop.orders.list", "shop.lists.*"]},
        ]
    )
    found = policy.check(["shop.pay", "shop.orders.get"])
    assert found.errors == [
        "rule 2: 'shop.pya' is not a method of 'shop'",
        "rule 2: 'shop.orders.list' is not a method of 'shop.orders'",
    ]
    assert found.warnings == [
        "rule 2: 'bank.*' names no service here",
        "rule 2: 'shop.lists.*' names no service here",
    ]


def test_method_that_is_not_public_is_no_method_for_anonymous() -> None:
    policy = Policy(
        [
            {"who": ["*", "anonymous"], "allow": ["shop.pay", "shop.hours", "bank.*", "news.**"]},
            {"who": ["*"], "allow": ["shop.pay"]},
            {"who": ["anonymous"], "allow": ["news.*", "shop.*"], "deny": ["shop.close"]},
        ]
    )
    known = ["shop.pay", "shop.hours", "shop.close", "bank.a", "bank.b", "news.read"]
    found = policy.check(known, public={"shop.hours", "news.read"})
    assert found.errors == []
    reason = "not public: callers without identity are refused"
    assert found.warnings == [
        f"rule 1: 'shop.pay' allows anonymous shop.pay, which is {reason}",
        f"rule 1: 'bank.*' allows anonymous bank.a and 1 more, which are {reason}",
        f"rule 3: 'shop.*' allows anonymous shop.pay, which is {reason}",
    ]
    assert policy.check(known).warnings == []


@pytest.mark.parametrize("pattern", ["Shop.pay", "SHOP.*", "shop.Orders.get", "Shop.orders.*"])
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_a_service_in_another_case_is_an_error(pattern: str, effect: str) -> None:
    """A `deny` in another case would deny nothing, and be noticed by nobody."""
    rule = {"who": ["*"], "allow": ["**"]} | {effect: [pattern]}
    found = Policy([rule]).check(["shop.pay", "shop.orders.get"])
    [error] = found.errors
    assert error.startswith(f"rule 1: {pattern!r} names no service here, there is 'shop")
    assert found.warnings == []


@pytest.mark.parametrize("key", ["not", "except", "metadata", "headers", "when"])
def test_a_rule_has_no_conditions_that_could_hold_by_mistake(key: str) -> None:
    """A rule depends on names alone: nothing that a caller sends can be left out to pass it."""
    with pytest.raises(ConfigError, match=key):
        Policy([{"who": ["*"], "allow": ["shop.pay"], key: ["x"]}])


def test_no_other_spelling_of_a_method_is_allowed() -> None:
    spellings = other_spellings("bank.balance")
    assert len(spellings) >= 100
    policy = Policy([{"who": ["alice"], "allow": ["bank.balance"]}])
    assert policy(ALICE, Route.named("bank.balance"))
    assert [one for one in spellings if policy.decide(ALICE, one).is_allowed] == []


def test_no_other_spelling_of_a_name_is_taken_for_it() -> None:
    spellings = other_spellings("alice.admin")
    assert len(spellings) >= 100
    policy = Policy([{"who": ["alice.admin", "role:root"], "allow": ["bank.balance"]}])
    assert policy(Identity("alice.admin"), Route.named("bank.balance"))
    for spelling in spellings:
        try:
            identity = Identity(spelling)
        except ConfigError:
            continue
        assert not policy(identity, Route.named("bank.balance")), spelling


@pytest.mark.parametrize(
    ("pattern", "keys", "others", "prefixes"),
    [
        ("shop/limits", ["shop/limits"], ["shop", "shop/limits/a", "shop/other"], []),
        ("shop/*", ["shop/a"], ["shop", "shop/a/b"], []),
        ("*/limits", ["shop/limits"], ["limits", "a/b/limits"], []),
        ("shop/**", ["shop/a", "shop/a/b"], ["shop", "shops/a", "shop2"], ["shop/", "shop/a/", "shop/a/x/"]),
        ("shop/*/x/**", ["shop/a/x/b"], ["shop/a/x", "shop/a/y/b"], ["shop/a/x/"]),
        ("**", ["a", "a/b"], [], ["", "a/", "shop/", "shop/a/", "shop/a/x/", "shops/"]),
    ],
)
def test_patterns_of_keys(pattern: str, keys: list[str], others: list[str], prefixes: list[str]) -> None:
    made = KeyPattern(pattern)
    assert [key for key in [*keys, *others] if made.matches(key)] == keys
    covered = [one for one in ("", "a/", "shop/", "shop/a/", "shop/a/x/", "shops/") if made.covers(one)]
    assert covered == prefixes


@pytest.mark.parametrize("text", ["", "/a", "a//b", "a/", "a/**/b", "a*", "a/b*", "../a", "a/.", "a\n"])
def test_wrong_patterns_of_keys_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a pattern of keys"):
        KeyPattern(text)


def test_rules_grant_keys() -> None:
    policy = Policy([{"who": ["ann"], "read_keys": ["shop/**"], "write_keys": ["ann/**"]}])
    ann = Identity("ann")
    assert [one.text for one in policy.key_patterns(ann, "read_keys")] == ["shop/**", "ann/**"]
    assert [one.text for one in policy.key_patterns(ann, "write_keys")] == ["ann/**"]
    assert policy.key_patterns(Identity("eve"), "read_keys") == ()
    with pytest.raises(ConfigError, match="rule 1: 'shop/' is not a pattern of keys") as refused:
        Policy([{"who": ["ann"], "read_keys": ["shop/"]}])
    assert refused.value.hint is not None
