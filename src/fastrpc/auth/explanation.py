"""Explain a policy's decision, for people."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastrpc.auth.policy import Policy, Rule
from fastrpc.patterns import MethodPattern
from fastrpc.rpc.definition import MethodDefinition
from fastrpc.rpc.identity import Identity
from fastrpc.rpc.service import BUILTIN_PREFIX

__all__ = ["Explanation", "RuleEffect", "explained"]


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """The decision of one rule that concerns a caller, for one method."""

    #: `rule`: the number of the rule, from 1 on. `who`: the pattern in it that matches the caller.
    rule: int
    who: str
    effect: Literal["allows", "denies", "names other methods"]
    #: The pattern of the method; None: the rule does not name this method.
    pattern: str | None = None

    def __str__(self) -> str:
        if self.pattern is None:
            return f"rule {self.rule} concerns {self.who} and names other methods"
        return f"rule {self.rule} {self.effect} {self.pattern} to {self.who}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its reasons."""

    is_allowed: bool
    #: True if the method is unknown, and the policy would let an anonymous caller call it if the method is public.
    is_allowed_if_public: bool
    #: The rule that decided; None: no rule allows the call, or the method itself refuses the caller.
    decisive: RuleEffect | None
    #: Whether the caller may use priority 2.
    is_high: bool
    reason: str
    #: Every rule that concerns the caller, in the order of the file.
    considered: tuple[RuleEffect, ...]

    def as_values(self) -> dict[str, Any]:
        """Return the explanation as plain data."""
        decisive = self.decisive
        return {
            "allowed": self.is_allowed,
            "allowed_if_public": self.is_allowed_if_public,
            "rule": None if decisive is None else decisive.rule,
            "pattern": None if decisive is None else decisive.pattern,
            "who": None if decisive is None else decisive.who,
            "priority": 2 if self.is_high else 0,
            "reason": self.reason,
            "considered": [asdict(effect) for effect in self.considered],
        }


def explained(
    policy: Policy, identity: Identity | None, method: str, definition: MethodDefinition | None = None
) -> Explanation:
    """Return, with reasons, whether a server with this policy lets a caller call the method of this full name.

    A server refuses a caller without identity, or without a role that the method demands, before it asks its policy.

    Args:
        definition: the method, if it is known.
    """
    decision = policy.decide(identity, method)
    considered = tuple(_effects(policy.rules, identity, method))
    is_open = identity is not None or (definition is not None and definition.public)
    refusal = None
    if definition is not None:
        refusal = _refusal_of_method(definition, identity, is_open=is_open)
    if refusal is not None:
        return Explanation(False, False, None, False, refusal, considered)
    decisive = next((one for one in considered if one.rule == decision.rule), None)
    reason = _refusal(policy, considered, method) if decisive is None else str(decisive)
    if decisive is not None and not decision.is_allowed and any(one.effect == "allows" for one in considered):
        reason += "; a deny comes before every allow"
    if decision.is_allowed and not is_open:
        reason += (
            "; any method but a public one refuses callers without identity (--services tells which it is)"
        )
    return Explanation(
        is_allowed=decision.is_allowed and is_open,
        is_allowed_if_public=decision.is_allowed and not is_open,
        decisive=decisive,
        is_high=decision.is_high,
        reason=reason,
        considered=considered,
    )


def _refusal_of_method(
    definition: MethodDefinition, identity: Identity | None, *, is_open: bool
) -> str | None:
    """Return why a method refuses a caller regardless of the policy; None if the method admits the caller."""
    if not is_open:
        return f"{definition.full_name} is not public: it refuses callers without identity"
    if definition.roles and (identity is None or not set(definition.roles) & identity.roles):
        return f"{definition.full_name} demands one of the roles {', '.join(sorted(definition.roles))}"
    return None


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
    """Return why a call is refused although no rule denies it."""
    if not considered:
        return "no rule concerns this caller"
    numbers = [one.rule for one in considered]
    patterns = [pattern.text for number in numbers for pattern in policy.rules[number - 1].allow]
    if method.startswith(BUILTIN_PREFIX) and "**" in patterns:
        return f"no rule allows it: ** leaves out {BUILTIN_PREFIX}*, which a rule has to name"
    if len(numbers) == 1:
        return f"no rule allows it: rule {numbers[0]} of this caller names other methods"
    return f"no rule allows it: rules {', '.join(map(str, numbers))} of this caller name other methods"
