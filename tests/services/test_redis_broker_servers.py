"""Settings and logins of a server of Redis that keeps messages: a broker over it checks them at the start."""

import asyncio
from pathlib import Path

import pytest

from fastrpc import BrokerError, ConfigError
from fastrpc.brokers.base import GroupSettings
from fastrpc.status import Status
from tests.support.kept_redis import LOG, bodies, kept_server, opened_redis, publish
from tests.support.registry_servers import RedisServer

pytestmark = pytest.mark.one_loop

GROUP = GroupSettings("billing", LOG.name, "oldest")
PASSWORD = "pl4nted-password"


async def test_a_server_that_keeps_nothing_is_refused(own_redis: RedisServer) -> None:
    with pytest.raises(ConfigError, match=r"redis://127.0.0.1:\d+ has appendonly no.*set appendonly yes"):
        async with opened_redis(own_redis):
            pass


async def test_a_server_that_shows_no_settings_needs_them_stated(redis_path: str, tmp_path: Path) -> None:
    rights = tmp_path / "users.acl"
    rights.write_text(f"user default on >{PASSWORD} ~fastrpc:* &fastrpc:* +@all -config\n")
    with kept_server(redis_path, tmp_path, options=["--aclfile", str(rights)]).running() as server:
        login = f"password={PASSWORD}"
        with pytest.raises(ConfigError, match=r"CONFIG GET is refused.*appendfsync=everysec"):
            async with opened_redis(server, login):
                pass
        with pytest.raises(ConfigError, match="appendfsync everysec: with sync=full"):
            async with opened_redis(server, f"{login}&appendfsync=everysec&sync=full"):
                pass
        async with opened_redis(server, f"{login}&appendfsync=always&sync=full") as broker:
            await broker.declare(LOG)


async def test_a_wrong_login_is_refused_without_its_password(redis_path: str, tmp_path: Path) -> None:
    with kept_server(redis_path, tmp_path, options=["--requirepass", "right"]).running() as server:
        for login in ("", f"password={PASSWORD}"):
            with pytest.raises(BrokerError) as caught:
                async with opened_redis(server, login):
                    pass
            assert (caught.value.status, caught.value.retryable) == (Status.UNAUTHENTICATED, False)
            assert PASSWORD not in str(caught.value)


async def test_a_member_without_a_right_to_channels_looks_by_itself(redis_path: str, tmp_path: Path) -> None:
    rights = tmp_path / "users.acl"
    rights.write_text(f"user default on >{PASSWORD} ~fastrpc:* resetchannels +@all\n")
    with kept_server(redis_path, tmp_path, options=["--aclfile", str(rights)]).running() as server:
        async with opened_redis(server, f"password={PASSWORD}&lease=2") as broker:
            await broker.declare(LOG)
            member = await broker.join(GROUP)
            waiting = asyncio.ensure_future(member.take(1))
            await asyncio.sleep(0)
            await publish(broker, b"1")
            assert bodies(await waiting) == [b"1"]


async def test_a_stated_setting_that_is_wrong_is_refused(redis_path: str, tmp_path: Path) -> None:
    with kept_server(redis_path, tmp_path).running() as server:
        with pytest.raises(ConfigError, match="has appendfsync everysec, the option appendfsync says always"):
            async with opened_redis(server, "appendfsync=always"):
                pass


async def test_a_server_that_drops_keys_where_its_memory_is_full_is_refused(
    redis_path: str, tmp_path: Path
) -> None:
    full = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]
    with kept_server(redis_path, tmp_path, options=full).running() as server:
        with pytest.raises(ConfigError, match="allkeys-lru.*noeviction"):
            async with opened_redis(server):
                pass


async def test_full_sync_needs_a_server_that_syncs_always(redis_path: str, tmp_path: Path) -> None:
    with kept_server(redis_path, tmp_path).running() as server:
        with pytest.raises(ConfigError, match="appendfsync everysec: with sync=full.*appendfsync always"):
            async with opened_redis(server, "sync=full"):
                pass
    with kept_server(redis_path, tmp_path, fsync="always").running() as always:
        async with opened_redis(always, "sync=full") as broker:
            await broker.declare(LOG)
