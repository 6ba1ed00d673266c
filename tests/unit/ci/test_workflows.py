"""`.github/workflows`: least permissions, pinned actions, and steps that people run by make."""

import re
from typing import Any

import pytest

from tests.support.source_tree import ROOT

yaml = pytest.importorskip("yaml")

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def loaded() -> dict[str, dict[Any, Any]]:
    return {path.name: yaml.safe_load(path.read_text()) for path in WORKFLOWS}


def steps() -> list[dict[str, Any]]:
    return [
        step for workflow in loaded().values() for job in workflow["jobs"].values() for step in job["steps"]
    ]


def test_there_is_one_for_changes_and_one_for_releases() -> None:
    assert loaded().keys() == {"ci.yml", "release.yml"}


def test_actions_are_pinned_by_commit_with_a_comment_for_their_version() -> None:
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
    assert lines != []
    assert [line for line in lines if not re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d", line)] == []


def test_steps_are_targets_of_make() -> None:
    runs = [step["run"] for step in steps() if "run" in step]
    assert runs != []
    assert [run for run in runs if not run.startswith("make ") or run.split()[1] not in TARGETS] == []


def commands(name: str, job: str) -> list[str]:
    return [step["run"] for step in loaded()[name]["jobs"][job]["steps"] if "run" in step]


def test_a_change_builds_the_site() -> None:
    assert "make docs" in commands("ci.yml", "lint")


def test_new_random_inputs_and_slow_tests_are_tried_each_week() -> None:
    workflow = loaded()["ci.yml"]
    assert {"make fuzz", "make slow"} <= set(commands("ci.yml", "weekly"))
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True]["schedule"] != []


def test_nothing_is_published_before_the_checks_of_a_release() -> None:
    jobs = loaded()["release.yml"]["jobs"]
    checking = [
        name for name in jobs if any("make release-check" in one for one in commands("release.yml", name))
    ]
    assert checking != []
    assert set(checking) <= set(jobs["publish"]["needs"])


def test_only_publishing_may_do_more_than_read() -> None:
    for name, workflow in loaded().items():
        assert workflow["permissions"] == {"contents": "read"}, name
        more = {job for job, body in workflow["jobs"].items() if "permissions" in body}
        assert more == ({"publish"} if name == "release.yml" else set())
    publish = loaded()["release.yml"]["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write", "attestations": "write"}
    assert publish["environment"] == "release"


def test_every_job_has_a_time_limit_and_checkouts_keep_no_credentials() -> None:
    assert all(
        "timeout-minutes" in job for workflow in loaded().values() for job in workflow["jobs"].values()
    )
    checkouts = [step for step in steps() if "checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
