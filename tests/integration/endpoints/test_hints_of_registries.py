"""The hint of a registry that cannot be used, for callers of both kinds."""

import asyncio
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Client
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("kind", ["asynchronous", "blocking"])
async def test_hint_of_a_registry_takes_the_place_of_the_general_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("FASTRPC_HOST_FOLDER", str(tmp_path))

    def call_blocking() -> None:
        with fastrpc.SyncClient("host://who") as client:
            client.call(Who.name_of)

    with pytest.raises(fastrpc.NoEndpointError, match=r"who\.name_of: .* its mode is 0755") as caught:
        if kind == "blocking":
            await asyncio.to_thread(call_blocking)
        else:
            async with Client("host://who") as client:
                await client.call(Who.name_of)
    assert "(chmod" not in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("chmod 700 it")
