"""Whatever code of a user raises ends nothing but its own work."""

import pytest

import tests.support.failing.clients
import tests.support.failing.grpc_programs
import tests.support.failing.installed
import tests.support.failing.servers
import tests.support.failing.streams
import tests.support.failing.tasks  # noqa: F401
from tests.support.failing.scenes import ERRORS, run_scene, scenes


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", scenes)
def test_exception_of_user_code_ends_nothing_else(
    name: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_scene(scenes[name], error, monkeypatch)
