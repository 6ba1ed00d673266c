"""actionlint accepts `.github/workflows`: expressions, contexts, inputs of actions, names of events and of runners."""

import subprocess
from pathlib import Path

import pytest

from tests.support.go_programs import ACTIONLINT
from tests.support.source_tree import ROOT

pytestmark = pytest.mark.one_loop

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def told(folder: Path, workflow: Path) -> tuple[int, str]:
    # Without shellcheck and pyflakes, which not every machine has: the steps are targets of make.
    command = [folder / ACTIONLINT.names[0], "-no-color", "-shellcheck=", "-pyflakes=", workflow]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_accepts_each_workflow(workflow: Path, actionlint_folder: Path) -> None:
    assert told(actionlint_folder, workflow) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "text"),
    [
        ("timeout-minutes:", "timeout-minute:", 'unexpected key "timeout-minute"'),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-newest", 'label "ubuntu-newest" is unknown'),
        ("${{ matrix.python }}", "${{ matrix.snake }}", 'property "snake" is not defined'),
    ],
)
def test_actionlint_finds_a_mistake(
    right: str, wrong: str, text: str, actionlint_folder: Path, tmp_path: Path
) -> None:
    source = next(each for path in WORKFLOWS if right in (each := path.read_text(encoding="utf-8")))
    place = tmp_path / "wrong.yml"
    place.write_text(source.replace(right, wrong), encoding="utf-8")
    code, said = told(actionlint_folder, place)
    assert (code, text in said) == (1, True), said
