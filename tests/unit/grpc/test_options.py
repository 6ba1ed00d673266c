"""Options of channels and servers as settings."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from fastrpc import TLS, ServerConfig
from fastrpc.config.validation import LARGEST_SIZE
from fastrpc.grpc import aio
from fastrpc.grpc.options import channel_options, server_options


@pytest.mark.parametrize(
    ("name", "value", "part", "field", "setting"),
    [
        ("grpc.max_receive_message_length", 1 << 20, "limits", "message_bytes", 1 << 20),
        ("grpc.max_receive_message_length", -1, "limits", "message_bytes", LARGEST_SIZE),
        ("grpc.max_receive_message_length", 100, "limits", "message_bytes", 4_096),
        ("grpc.max_send_message_length", 1 << 20, "limits", "message_bytes", 16 << 20),
        ("grpc.max_metadata_size", 16_384, "limits", "metadata_bytes", 16_384),
        ("grpc.http2.lookahead_bytes", 1 << 20, "limits", "stream_window_bytes", 1 << 20),
        ("grpc.keepalive_time_ms", 30_000, "keepalive", "interval", 30.0),
        ("grpc.keepalive_time_ms", 2**31 - 1, "keepalive", "interval", None),
        ("grpc.keepalive_timeout_ms", 5_000, "keepalive", "timeout", 5.0),
        ("grpc.client_idle_timeout_ms", 60_000, "timeouts", "idle", 60.0),
        ("grpc.initial_reconnect_backoff_ms", 500, "backoff", "first", 0.5),
        ("grpc.max_reconnect_backoff_ms", 2_000, "backoff", "longest", 2.0),
        ("grpc.min_reconnect_backoff_ms", 3_000, "timeouts", "connect", 3.0),
    ],
)
def test_an_option_of_a_channel_is_a_setting(
    name: str, value: Any, part: str, field: str, setting: Any
) -> None:
    config = channel_options([(name, value)], None, None).config
    assert getattr(getattr(config, part), field) == setting


@pytest.mark.parametrize(
    ("name", "value", "part", "field", "setting"),
    [
        ("grpc.max_concurrent_streams", 100, "limits", "concurrent_calls", 100),
        ("grpc.max_concurrent_streams", 100, "limits", "streams", 100),
        ("grpc.max_connection_age_ms", 60_000, "keepalive", "max_age", 60.0),
        ("grpc.max_connection_age_grace_ms", 5_000, "timeouts", "drain", 5.0),
        ("grpc.max_connection_idle_ms", 60_000, "timeouts", "idle", 60.0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000, "keepalive", "minimum_interval", 5.0),
        ("grpc.max_receive_message_length", 1 << 20, "limits", "message_bytes", 1 << 20),
    ],
)
def test_an_option_of_a_server_is_a_setting(
    name: str, value: Any, part: str, field: str, setting: Any
) -> None:
    config = server_options([(name, value)], None, None).config
    assert getattr(getattr(config, part), field) == setting


@pytest.mark.parametrize("options_of", [channel_options, server_options])
def test_each_direction_has_a_separate_limit(options_of: Any) -> None:
    found = options_of(
        [("grpc.max_send_message_length", 50), ("grpc.max_receive_message_length", 100)], None, None
    )
    assert found.limits == (50, 100)
    # Settings check the larger ones, before the whole message has arrived.
    found = options_of([("grpc.max_receive_message_length", 1 << 20)], None, None)
    assert found.limits == (None, None)
    assert found.config.limits._sent_bytes == LARGEST_SIZE


def test_a_channel_has_no_default_timeout() -> None:
    assert channel_options(None, None, None).config.timeouts.call is None


def test_compression_is_a_compressor() -> None:
    assert channel_options(None, grpc.Compression.Gzip, None).config.compressor == "gzip"
    algorithm = [("grpc.default_compression_algorithm", 1)]
    assert channel_options(algorithm, None, None).config.compressor == "deflate"
    assert server_options(None, grpc.Compression.Gzip, None).compressor == "gzip"
    assert server_options([], grpc.Compression.NoCompression, None).compressor is None


def test_the_settings_of_a_server_may_be_given() -> None:
    given = ServerConfig(reflection=False, expose_errors=True)
    config = server_options([("grpc.max_concurrent_streams", 7)], None, given).config
    assert (config.reflection, config.expose_errors, config.limits.streams) == (False, True, 7)


def test_other_options_have_a_separate_place() -> None:
    found = channel_options(
        [
            ("grpc.service_config", "{}"),
            ("grpc.lb_policy_name", "round_robin"),
            ("grpc.enable_retries", 0),
            ("grpc.ssl_target_name_override", "orders"),
        ],
        None,
        TLS(),
    )
    assert (found.service_config, found.policy, found.retries) == ("{}", "round_robin", False)
    assert found.config.tls == TLS(server_name="orders")
    assert not server_options([("grpc.so_reuseport", 0)], None, None).reuse_port


@pytest.mark.parametrize("options", [channel_options, server_options])
def test_an_option_without_a_counterpart_is_one_warning_that_names_it(options: Any) -> None:
    rest = (None,)
    with pytest.warns(
        UserWarning, match=r"the option 'grpc\.optimization_target' of a gRPC .* left out"
    ) as caught:
        options([("grpc.optimization_target", "latency"), ("grpc.enable_http_proxy", 0)], None, *rest)
    assert len(caught) == 1


def test_an_option_that_asks_for_the_rule_here_is_taken_and_another_value_warned_of() -> None:
    channel_options([("grpc.keepalive_permit_without_calls", 1)], None, None)
    with pytest.warns(UserWarning, match="keepalive_permit_without_calls"):
        channel_options([("grpc.keepalive_permit_without_calls", 0)], None, None)


async def test_the_warning_of_an_option_names_the_line_of_the_program() -> None:
    makers = (fastrpc.grpc.server, fastrpc.grpc.insecure_channel, aio.server, aio.insecure_channel)
    for maker in makers:
        first: tuple[Any, ...] = (ThreadPoolExecutor(1),) if maker.__name__ == "server" else ("localhost:1",)
        with pytest.warns(UserWarning, match="optimization_target") as caught:
            made = maker(*first, options=[("grpc.optimization_target", "latency")])
        assert [one.filename for one in caught] == [__file__]
        if maker is aio.insecure_channel:
            await made.close()
        elif maker is fastrpc.grpc.insecure_channel:
            made.close()
