"""Numbers that make a dict crawl: each walks over most of those before it.

A dict looks at slot h, then at 5 * slot + 1 + what is left of the hash after losing five bits, and so on; once nothing
is left it goes round the table in an order that is always the same. So the first `fill` slots of that order are taken
by numbers that are their own slots, and each further number is chosen, five bits at a time, to look at taken slots
until nothing is left of it. From there it walks to the end of the taken ones.
"""

import random

__all__ = ["colliding_numbers"]

SHIFT = 5
BITS = 60


def colliding_numbers(slot_bits: int, fill: int, count: int) -> list[int]:
    """Return `fill` harmless numbers and `count` that collide with them in a dict of 2**slot_bits slots."""
    mask = (1 << slot_bits) - 1
    order = [0]
    while len(order) < fill:
        order.append((5 * order[-1] + 1) & mask)
    taken = set(order)
    chance = random.Random(1)
    found: set[int] = set()
    while len(found) < count:
        number = _extended(chance, chance.choice(order), slot_bits, taken)
        if number is not None:
            found.add(number)
    return [*order, *found]


def _extended(chance: random.Random, start: int, slot_bits: int, taken: set[int]) -> int | None:
    """Extend a slot number to one of BITS bits that only ever looks at taken slots; None when that leads nowhere."""
    mask = (1 << slot_bits) - 1
    number, slot, known = start, start, slot_bits
    for shift in range(SHIFT, BITS + SHIFT, SHIFT):
        fresh = min(SHIFT, BITS - known)
        options = []
        for bits in range(1 << fresh):
            longer = number | bits << known
            following = (5 * slot + (longer >> shift) + 1) & mask
            if following in taken:
                options.append((longer, following))
        if not options:
            return None
        number, slot = chance.choice(options)
        known += fresh
    return number
