"""Keys that make a dict or a set crawl: each walks over most of those before it.

A dict looks at slot h, then at 5 * slot + 1 + the hash shifted right by five bits, and so on; once the shifted hash is
0 it goes round the table in a fixed order. So the first `fill` slots of that order are taken by numbers that are their
own slots, and each further number is chosen, five bits at a time, to look at taken slots until its shifted hash is 0.
From there it walks to the end of the taken ones. A set looks at nine neighbours as well.

Simpler, where numbers are not limited to 64 bits: numbers that are equal modulo 2**61 - 1 have the same hash.
"""

import random
from collections.abc import Sequence, Set
from decimal import Decimal
from functools import cache

__all__ = ["alike_decimals", "alike_numbers", "colliding_numbers", "colliding_set_values"]

SHIFT = 5
BITS = 60
NEIGHBOURS = 9
MODULUS = 2**61 - 1


def alike_numbers(number: int = 5) -> list[int]:
    """Return all numbers of 64 bits that have the hash of a small one."""
    return [number + times * MODULUS for times in range(8)]


def alike_decimals(count: int, number: int = 5) -> list[Decimal]:
    """Return `count` numbers that have the hash of a small one."""
    return [Decimal(number + times * MODULUS) for times in range(count)]


@cache
def colliding_numbers(slot_bits: int, fill: int, count: int) -> tuple[int, ...]:
    """Return `fill` harmless numbers and `count` that collide with them in a dict of 2**slot_bits slots."""
    mask = (1 << slot_bits) - 1
    order = [0]
    while len(order) < fill:
        order.append((5 * order[-1] + 1) & mask)
    return (*order, *_found(slot_bits, order, set(order), count))


@cache
def colliding_set_values(slot_bits: int, fill: int, count: int) -> tuple[int, ...]:
    """Return some `fill` harmless numbers and `count` that collide with them in a set of 2**slot_bits slots."""
    mask = (1 << slot_bits) - 1
    heads = [0]
    taken: dict[int, None] = {}
    while len(taken) < fill:
        last = heads[-1] + NEIGHBOURS if heads[-1] + NEIGHBOURS <= mask else heads[-1]
        taken.update(dict.fromkeys(range(heads[-1], last + 1)))
        heads.append((5 * heads[-1] + 1) & mask)
    return (*taken, *_found(slot_bits, heads[:-1], set(heads[:-1]), count))


def _found(slot_bits: int, starts: Sequence[int], passed: Set[int], count: int) -> set[int]:
    chance = random.Random(1)
    found: set[int] = set()
    while len(found) < count:
        start = chance.choice(starts)
        number = _extended(chance, start, start, slot_bits, slot_bits, passed)
        if number is not None:
            found.add(number)
    return found


def _extended(
    chance: random.Random, number: int, slot: int, known: int, slot_bits: int, passed: Set[int]
) -> int | None:
    """Extend a number of `known` bits to BITS bits so that it only ever looks at slots passed by; None if it cannot."""
    mask = (1 << slot_bits) - 1
    # So many times the dict has taken bits away already; known bits are `slot_bits` more, up to the end.
    shift = known - slot_bits + SHIFT
    if shift >= BITS + SHIFT:
        return number
    fresh = min(SHIFT, max(0, BITS - known))
    # Each choice once, in one of many orders: half a million are tried for one list.
    first = chance.getrandbits(SHIFT) & (1 << fresh) - 1
    for step in range(1 << fresh):
        bits = first ^ step
        longer = number | bits << known
        following = (5 * slot + (longer >> shift) + 1) & mask
        if following in passed:
            found = _extended(chance, longer, following, known + SHIFT, slot_bits, passed)
            if found is not None:
                return found
    return None
