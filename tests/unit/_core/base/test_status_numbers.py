"""The statuses that the core has as numbers match `fastrpc.status`."""

import re
from pathlib import Path

from fastrpc.status import Status

CORE = Path(__file__).parents[4] / "src/fastrpc/_core"


def test_numbers_are_as_in_the_enumeration() -> None:
    text = (CORE / "base/status.pxd").read_text(encoding="utf-8")
    numbers = {
        name: int(number) for name, number in re.findall(r"^    ([A-Z_]+) = (\d+)", text, re.MULTILINE)
    }
    assert numbers.pop("HIGHEST_STATUS") == max(Status)
    assert len(numbers) > 5
    assert numbers == {name: Status[name] for name in numbers}


def test_no_module_has_its_own() -> None:
    names = "|".join(f"(?:STATUS_)?{status.name}(?:_STATUS)? = {status.value}" for status in Status)
    own = re.compile(rf"^    (?:{names})\b", re.MULTILINE)
    found = {path.name for path in CORE.rglob("*.p[yx][xd]") if own.search(path.read_text(encoding="utf-8"))}
    assert found == {"status.pxd"}
