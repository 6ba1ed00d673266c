"""The certificates and tokens of all these tests."""

import pytest

from tests.support.relayed import RelayFiles


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> RelayFiles:
    return RelayFiles.made(tmp_path_factory.mktemp("relay"))
