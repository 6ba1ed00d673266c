"""Compare the requirements of pyproject.toml with the advisories of `ci/advisories.toml`.

`make lint` runs this. It fails for a requirement that allows an affected version, and for a table that is too old.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

__all__ = ["MOST_DAYS", "age_fault", "faults", "requirements_of"]

ROOT = Path(__file__).parents[1]

#: Days after which the table has to be compared with the published advisories.
MOST_DAYS = 60


def age_fault(compared_on: date, today: date) -> str | None:
    """Return why a table of this date is refused; None if it is accepted."""
    days = (today - compared_on).days
    if days < 0:
        return f"ci/advisories.toml was compared on {compared_on}, which is {-days} days ahead: set the right date"
    if days > MOST_DAYS:
        return (
            f"ci/advisories.toml was compared with the published advisories {days} days ago, on {compared_on}; "
            f"the limit is {MOST_DAYS} days: look its packages up at https://osv.dev, add what is missing, "
            "raise floors in pyproject.toml, then set compared_on"
        )
    return None


def requirements_of(pyproject: Mapping[str, Any]) -> list[Requirement]:
    """Return all requirements in a pyproject.toml: of its build, of each installation, its extras and groups."""
    project: Mapping[str, Any] = pyproject.get("project", {})
    extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    texts = [*pyproject.get("build-system", {}).get("requires", ()), *project.get("dependencies", ())]
    texts += [text for extra in extras.values() for text in extra]
    groups: Mapping[str, list[Any]] = pyproject.get("dependency-groups", {})
    texts += [text for group in groups.values() for text in group if isinstance(text, str)]
    return [Requirement(text) for text in texts]


def faults(requirements: Iterable[Requirement], advisories: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each requirement that allows an affected version, and each advisory that concerns no requirement."""
    named: dict[str, list[Requirement]] = {}
    for requirement in requirements:
        named.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    for advisory in advisories:
        title, package = f"{advisory['id']} of {advisory['package']}", canonicalize_name(advisory["package"])
        if package not in named:
            yield f"{title}: no requirement names the package, remove the advisory"
        if ("affected" in advisory) == ("unreached" in advisory):
            yield f"{title} needs either `affected` or `unreached`"
        for requirement in named.get(package, ()):
            for affected in advisory.get("affected", ()):
                found = first_common(requirement.specifier, SpecifierSet(affected))
                if found is not None:
                    yield f"{requirement} allows {found}, which {title} affects ({advisory['about']})"


def first_common(allowed: SpecifierSet, affected: SpecifierSet) -> Version | None:
    """Return the first release in both sets, taken to have three numbers; None if there is none.

    The releases that both have begin at a lower bound of either, or right after one that is excluded.
    """
    begins = {Version("0")}
    for bound in (*allowed, *affected):
        numbers = list(Version(bound.version.removesuffix(".*")).release)
        if not bound.version.endswith(".*"):
            numbers += [0] * (3 - len(numbers))
        begins |= {_version(numbers), _version([*numbers[:-1], numbers[-1] + 1])}
    return next((one for one in sorted(begins) if one in allowed and one in affected), None)


def _version(numbers: list[int]) -> Version:
    return Version(".".join(map(str, numbers)))


def main() -> int:
    """Print the errors found; return the exit code of the process."""
    table = tomllib.loads((ROOT / "ci" / "advisories.toml").read_text(encoding="utf-8"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wrong = [*faults(requirements_of(pyproject), table["advisory"])]
    too_old = age_fault(table["compared_on"], datetime.now(UTC).date())
    wrong += [] if too_old is None else [too_old]
    for one in wrong:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
