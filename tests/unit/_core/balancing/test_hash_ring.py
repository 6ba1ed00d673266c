"""The hash ring: the same everywhere, few keys move, no node gets more than its bound."""

import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest

from fastrpc._core.balancing.hash_ring import HashRing, go_key_hash, jump, key_hash

KEYS = [f"customer:{number}" for number in range(40_000)]


def names(count: int) -> list[str]:
    return [f"tcp://10.0.{number // 250}.{number % 250}:8972" for number in range(count)]


def ring_of(nodes: Iterable[str], *, bound: float | None = None, least_load: int = 0) -> HashRing:
    return HashRing(dict.fromkeys(nodes, 1), bound=bound, least_load=least_load)


def moved(before: HashRing, after: HashRing) -> float:
    return sum(before.find(key) != after.find(key) for key in KEYS) / len(KEYS)


# The hash


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", 0x2A8796CD7FBB8053),
        ("a", 0x55B58585AB79B403),
        ("customer:42", 0x4E70C2E588159405),
        ("a key that is longer than two words of it", 0x32E892A6DE44A3E8),
        (0, 0x23DE0A728D145DC8),
        (-1, 0xF21DC473DBAAA7F1),
        (2**64, 0x333F755EC0B5CA22),
    ],
)
def test_hash_of_a_key_never_changes(key: str | int, expected: int) -> None:
    assert key_hash(key) == expected


def test_text_hashes_like_its_bytes() -> None:
    assert key_hash("grün") == key_hash("grün".encode())


def test_names_of_files_that_are_not_utf8_hash_apart() -> None:
    files = [os.fsdecode(b"\xff.txt"), os.fsdecode(b"\xfe.txt"), "\ud800"]
    for hash_of in (key_hash, go_key_hash):
        assert len({hash_of(name) for name in files}) == len(files)
    ring = HashRing()
    ring.update({f"unix:///{name}": 1 for name in files})
    assert ring.find("key") in {f"unix:///{name}" for name in files}


def test_equal_numbers_have_equal_hashes() -> None:
    assert key_hash(True) == key_hash(1)


@pytest.mark.parametrize("key", [1.5, None, ("a",), bytearray(b"a")])
def test_other_types_are_refused_as_keys(key: object) -> None:
    with pytest.raises(TypeError, match=type(key).__name__):
        key_hash(key)  # type: ignore[arg-type]


def test_every_bit_of_a_key_turns_half_of_the_hash() -> None:
    for size in (1, 4, 8, 15, 16, 17, 40):
        for bit in range(8 * size):
            turned = [
                (
                    key_hash(text)
                    ^ key_hash((int.from_bytes(text, "little") ^ 1 << bit).to_bytes(size, "little"))
                ).bit_count()
                for text in (bytes((31 * n + k * k) % 256 for k in range(size)) for n in range(64))
            ]
            # 64 x 64 fair coins: the mean is 32 with a deviation of 0.5.
            assert 29 < statistics.mean(turned) < 35, (size, bit)


def test_neighbouring_numbers_and_texts_do_not_collide() -> None:
    texts = {key_hash(str(number)) for number in range(50_000)}
    numbers = {key_hash(number) for number in range(50_000)}
    assert len(texts | numbers) == 100_000


def test_zeros_of_different_length_hash_differently() -> None:
    assert len({key_hash(bytes(size)) for size in range(200)}) == 200


# Go's hashes

GO_HASHES = {
    "/Arith/Mul/1": 0x7C68C62ACC59E1D9,
    "/Arith/Mul/42": 0xBFF493B93CC31840,
    "/Echo/Say/hello": 0x643484ECC7F9A7B4,
}
GO_BUCKETS = {
    "/Arith/Mul/1": (0, 1, 1, 1, 6, 63),
    "/Arith/Mul/42": (0, 0, 0, 4, 4, 4),
    "/Echo/Say/hello": (0, 1, 1, 1, 1, 70),
}


@pytest.mark.parametrize("key", GO_HASHES)
def test_go_hash_and_jump_are_those_a_go_program_computed(key: str) -> None:
    assert go_key_hash(key) == GO_HASHES[key]
    assert tuple(jump(GO_HASHES[key], buckets) for buckets in (1, 2, 3, 5, 10, 100)) == GO_BUCKETS[key]


def test_go_hash_of_a_number_is_the_hash_of_its_digits() -> None:
    assert go_key_hash(-42) == go_key_hash("-42") == go_key_hash(b"-42")


def test_jump_needs_a_bucket() -> None:
    with pytest.raises(ValueError, match="the number of buckets is 0"):
        jump(1, 0)


# The ring


def test_ring_of_no_nodes_finds_nothing() -> None:
    ring = HashRing()
    assert ring.find_all("key", 3) == []
    for search in (ring.find, ring.acquire):
        with pytest.raises(LookupError, match="no node"):
            search("key")


def test_one_node_takes_every_key() -> None:
    ring = ring_of(["only"])
    assert {ring.find(key) for key in KEYS[:100]} == {"only"}


def test_ring_is_the_same_in_other_processes() -> None:
    program = (
        "import sys; from fastrpc._core.balancing.hash_ring import HashRing;"
        "ring = HashRing({name: 1 for name in sys.argv[1:]});"
        "print(ring.fingerprint(), ring.find('customer:1'))"
    )
    mine = ring_of(names(20))
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program, *reversed(names(20))],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split() == [str(mine.fingerprint()), mine.find("customer:1")]


def test_ring_never_changes() -> None:
    assert ring_of(names(20)).fingerprint() == 0x341833A2FA7DC4F0


@pytest.mark.parametrize("count", [5, 20, 100])
def test_only_keys_of_a_removed_node_move(count: int) -> None:
    before, after = ring_of(names(count)), ring_of(names(count)[1:])
    gone = names(count)[0]
    assert all(before.find(key) == gone for key in KEYS if before.find(key) != after.find(key))
    assert 0 < moved(before, after) <= 1.25 / count


@pytest.mark.parametrize("count", [5, 20, 100])
def test_node_that_comes_takes_its_share(count: int) -> None:
    before, after = ring_of(names(count)), ring_of([*names(count), "tcp://10.9.9.9:8972"])
    assert {after.find(key) for key in KEYS if before.find(key) != after.find(key)} == {"tcp://10.9.9.9:8972"}
    assert moved(before, after) <= 1.25 / (count + 1)


def test_nodes_get_keys_by_their_weight() -> None:
    ring = HashRing({"light": 1, "heavy": 3, "none": 0})
    counts = Counter(ring.find(key) for key in KEYS)
    assert counts["none"] == 0
    assert 2.4 < counts["heavy"] / counts["light"] < 3.6


def test_changed_weight_moves_keys_of_that_node_alone() -> None:
    before = HashRing(dict.fromkeys(names(10), 2))
    after = HashRing({**dict.fromkeys(names(10), 2), names(10)[3]: 3})
    assert {after.find(key) for key in KEYS if before.find(key) != after.find(key)} == {names(10)[3]}


def test_points_are_bounded() -> None:
    ring = HashRing(dict.fromkeys(names(100), 1000))
    assert 2**19 <= ring.points <= 2**20
    assert min(Counter(ring.find(key) for key in KEYS).values()) / (len(KEYS) / 100) > 0.7


@pytest.mark.parametrize("weight", [-1, 2**16 + 1, 1.5, "1"])
def test_wrong_weight_is_refused_and_changes_nothing(weight: int) -> None:
    ring = ring_of(names(3))
    before = ring.fingerprint()
    with pytest.raises(ValueError, match="weight of 'new'"):
        ring.update({"other": 1, "new": weight})
    assert ring.fingerprint() == before
    assert "other" not in ring


@pytest.mark.parametrize(
    "options", [{"bound": 0.9}, {"least_load": -1}, {"points_per_weight": 0}, {"points_per_weight": 2**20}]
)
def test_wrong_options_are_refused_by_name(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        HashRing(**options)


def test_find_all_begins_with_the_owner_and_names_each_node_once() -> None:
    ring = ring_of(names(5))
    found = ring.find_all("customer:1", 10)
    assert found[0] == ring.find("customer:1")
    assert sorted(found) == sorted(names(5))


def test_unknown_node_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        ring_of(names(2)).remove("stranger")


# Bounded load


@pytest.mark.parametrize("keys", [KEYS, ["the same"] * 10_000], ids=["many keys", "one key"])
def test_bound_keeps_the_peak_at_most_a_quarter_above_the_mean(keys: list[str]) -> None:
    ring = ring_of(names(20), bound=1.25)
    for key in keys:
        ring.acquire(key)
    mean = len(keys) / 20
    assert ring.total_load == len(keys)
    assert max(ring.load(name) for name in names(20)) <= 1.25 * mean


def test_bound_follows_the_weights() -> None:
    ring = HashRing({"light": 1, "heavy": 3}, bound=1.25)
    for _ in range(400):
        ring.acquire("the same")
    assert ring.load("light") <= 125
    assert ring.load("heavy") <= 375


def test_without_a_bound_a_key_stays_at_its_endpoint() -> None:
    ring = ring_of(names(20))
    assert len({ring.acquire("the same") for _ in range(100)}) == 1


def test_least_load_keeps_a_few_calls_of_one_key_at_one_endpoint() -> None:
    ring = ring_of(names(20), bound=1.25, least_load=4)
    taken = [ring.acquire("the same") for _ in range(5)]
    assert len(set(taken[:4])) == 1
    assert taken[4] != taken[0]


def test_released_key_makes_room_again() -> None:
    ring = ring_of(names(20), bound=1.25)
    first = ring.acquire("the same")
    assert ring.acquire("the same") != first
    ring.release(first)
    assert ring.acquire("the same") == first


def test_load_of_a_node_that_goes_is_forgotten() -> None:
    ring = ring_of(names(3))
    taken = ring.acquire("key")
    ring.remove(taken)
    assert ring.total_load == 0
    ring.release(taken)
    ring.add(taken)
    assert ring.load(taken) == 0


def test_release_without_acquire_changes_nothing() -> None:
    ring = ring_of(names(3))
    ring.release(names(3)[0])
    assert ring.total_load == 0
