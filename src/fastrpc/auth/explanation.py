"""Why a policy decides as it does, for people."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastrpc.auth.policy import Policy, Rule
from fastrpc.method_patterns import MethodPattern
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.service import BUILTIN_PREFIX

__all__ = ["Explanation", "RuleEffect", "explained"]


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """The decision of one rule that concerns a caller, for one method."""

    #: The number of the rule, from 1 on, and its pattern that stands for the caller.
    rule: int
    who: str
    effect: Literal["allows", "denies", "names other methods"]
    #: The pattern of the method; None: the rule names other methods.
    pattern: str | None = None

    def __str__(self) -> str:
        if self.pattern is None:
            return f"rule {self.rule} concerns {self.who} and names other methods"
        return f"rule {self.rule} {self.effect} {self.pattern} to {self.who}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision, and what led to it."""

    is_allowed: bool
    #: The rule that decided; None: no rule allows it.
    decisive: RuleEffect | None
    #: Whether the caller may use priority 2.
    is_high: bool
    reason: str
    #: Every rule that concerns the caller, in the order of the file.
    considered: tuple[RuleEffect, ...]

    def as_values(self) -> dict[str, Any]:
        """Return it as plain data."""
        decisive = self.decisive
        return {
            "allowed": self.is_allowed,
            "rule": None if decisive is None else decisive.rule,
            "pattern": None if decisive is None else decisive.pattern,
            "who": None if decisive is None else decisive.who,
            "priority": 2 if self.is_high else 0,
            "reason": self.reason,
            "considered": [asdict(effect) for effect in self.considered],
        }


def explained(policy: Policy, identity: Identity | None, method: str) -> Explanation:
    """Return what a policy decides about a caller and the full name of a method, and why."""
    decision = policy.decide(identity, method)
    considered = tuple(_effects(policy.rules, identity, method))
    decisive = next((one for one in considered if one.rule == decision.rule), None)
    reason = _refusal(policy, considered, method) if decisive is None else str(decisive)
    if decisive is not None and not decision.is_allowed and any(one.effect == "allows" for one in considered):
        reason += "; a deny comes before every allow"
    return Explanation(decision.is_allowed, decisive, decision.is_high, reason, considered)


def _effects(rules: tuple[Rule, ...], identity: Identity | None, method: str) -> Iterator[RuleEffect]:
    for number, rule in enumerate(rules, 1):
        who = next((one.text for one in rule.who if one.matches(identity)), None)
        if who is None:
            continue
        denied, allowed = _first(rule.deny, method), _first(rule.allow, method)
        if denied is not None:
            yield RuleEffect(number, who, "denies", denied)
        elif allowed is not None:
            yield RuleEffect(number, who, "allows", allowed)
        else:
            yield RuleEffect(number, who, "names other methods")


def _first(patterns: tuple[MethodPattern, ...], method: str) -> str | None:
    return next((one.text for one in patterns if one.matches(method)), None)


def _refusal(policy: Policy, considered: tuple[RuleEffect, ...], method: str) -> str:
    """Return why nothing allows a call that nothing denies."""
    if not considered:
        return "no rule concerns this caller"
    numbers = [one.rule for one in considered]
    patterns = [pattern.text for number in numbers for pattern in policy.rules[number - 1].allow]
    if method.startswith(BUILTIN_PREFIX) and "**" in patterns:
        return f"no rule allows it: ** leaves out {BUILTIN_PREFIX}*, which a rule has to name"
    if len(numbers) == 1:
        return f"no rule allows it: rule {numbers[0]} of this caller names other methods"
    return f"no rule allows it: rules {', '.join(map(str, numbers))} of this caller name other methods"
