"""The names that grpc's own examples in Python use: each is here, is grpcio's own, or stands in the guide's table."""

import grpc
import grpc.aio
import pytest

import fastrpc.grpc
from fastrpc.grpc import aio
from fastrpc.grpc.contexts import LoopContext, ThreadContext
from tests.support.source_tree import ROOT

#: Functions of `grpc`, in examples/python at 1.72, that make servers and channels, so they are ours.
MADE = ("server", "insecure_channel", "secure_channel")
#: These are types, values and functions on top of a channel: a program still imports them from grpcio.
KEPT = (
    *("Channel", "ChannelConnectivity", "ClientCallDetails", "Compression", "Future", "HandlerCallDetails"),
    *("RpcError", "RpcMethodHandler", "Server", "ServerInterceptor", "ServicerContext", "StatusCode"),
    *("StreamStreamClientInterceptor", "StreamUnaryClientInterceptor", "UnaryStreamClientInterceptor"),
    *("UnaryUnaryClientInterceptor", "intercept_channel", "unary_unary_rpc_method_handler"),
    *("protos", "protos_and_services", "services"),
)
#: These have no counterpart; each with the words of its row in the tables of the guide.
IN_THE_TABLE = {
    "AuthMetadataContext": "credential objects, credentials of one call",
    "AuthMetadataPlugin": "credential objects, credentials of one call",
    "AuthMetadataPluginCallback": "credential objects, credentials of one call",
    "access_token_call_credentials": "credential objects, credentials of one call",
    "composite_channel_credentials": "`composite_channel_credentials`",
    "metadata_call_credentials": "credential objects, credentials of one call",
    "ssl_channel_credentials": "`secure_channel(target, credentials, …)`",
    "ssl_server_credentials": "`add_secure_port(address, credentials)`",
    "insecure_server_credentials": "credential objects, credentials of one call",
    "alts_channel_credentials": "ALTS",
    "alts_server_credentials": "ALTS",
    "xds_channel_credentials": "xDS",
    "xds_server_credentials": "xDS",
    "experimental": "the experimental package",
}
#: Of `grpc.aio`.
OF_AIO = (
    *("AioRpcError", "Channel", "EOF", "Metadata", "Server", "ServerInterceptor", "ServicerContext"),
    *("insecure_channel", "secure_channel", "server"),
)
#: Members of the context of a servicer, on the loop and in threads.
OF_CONTEXTS = (
    "abort",
    "abort_with_status",
    "invocation_metadata",
    "peer",
    "set_compression",
    "set_trailing_metadata",
)


@pytest.mark.parametrize("name", MADE)
def test_servers_and_channels_are_ours(name: str) -> None:
    assert getattr(fastrpc.grpc, name).__module__.startswith("fastrpc.")
    assert getattr(aio, name).__module__.startswith("fastrpc.")


@pytest.mark.parametrize("name", KEPT)
def test_other_names_stay_with_grpcio(name: str) -> None:
    assert hasattr(grpc, name)
    assert not hasattr(fastrpc.grpc, name)


@pytest.mark.parametrize("name", OF_AIO)
def test_a_program_of_the_loop_imports_all_from_one_module(name: str) -> None:
    assert name in MADE or getattr(aio, name) is getattr(grpc.aio, name)


@pytest.mark.parametrize("name", OF_CONTEXTS)
def test_both_contexts_have_the_method(name: str) -> None:
    assert callable(getattr(LoopContext, name))
    assert callable(getattr(ThreadContext, name))


def test_contexts_have_all_methods_of_grpcio() -> None:
    for ours, theirs in ((LoopContext, grpc.aio.ServicerContext), (ThreadContext, grpc.ServicerContext)):
        names = {name for name in vars(theirs) if not name.startswith("_")}
        assert {name for name in names if not hasattr(ours, name)} <= {"disable_next_message_compression"}


@pytest.mark.parametrize("name", IN_THE_TABLE)
def test_a_name_without_a_counterpart_stands_in_the_table(name: str) -> None:
    assert not hasattr(fastrpc.grpc, name)
    page = (ROOT / "docs" / "guide" / "grpcio.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert any(IN_THE_TABLE[name] in row for row in rows)
