"""grpc.aio with our server and channels: `from fastrpc.grpc import aio` in place of `from grpc import aio`.

    servers   `server`;  interceptors: interceptors of servers
    channels  `insecure_channel`, `secure_channel`;  calls, stream_calls: the calls that channels return
    interception  interceptors of channels

Every other public name is the name in grpc.aio.
"""

from typing import TYPE_CHECKING, Any

from fastrpc.first_use import names_on_first_use

__all__ = ["insecure_channel", "secure_channel", "server"]

if TYPE_CHECKING:
    from grpc.aio import EOF as EOF
    from grpc.aio import AbortError as AbortError
    from grpc.aio import AioRpcError as AioRpcError
    from grpc.aio import BaseError as BaseError
    from grpc.aio import Call as Call
    from grpc.aio import Channel as Channel
    from grpc.aio import ClientCallDetails as ClientCallDetails
    from grpc.aio import ClientInterceptor as ClientInterceptor
    from grpc.aio import InterceptedUnaryUnaryCall as InterceptedUnaryUnaryCall
    from grpc.aio import InternalError as InternalError
    from grpc.aio import Metadata as Metadata
    from grpc.aio import RpcContext as RpcContext
    from grpc.aio import Server as Server
    from grpc.aio import ServerInterceptor as ServerInterceptor
    from grpc.aio import ServicerContext as ServicerContext
    from grpc.aio import StreamStreamCall as StreamStreamCall
    from grpc.aio import StreamStreamClientInterceptor as StreamStreamClientInterceptor
    from grpc.aio import StreamStreamMultiCallable as StreamStreamMultiCallable
    from grpc.aio import StreamUnaryCall as StreamUnaryCall
    from grpc.aio import StreamUnaryClientInterceptor as StreamUnaryClientInterceptor
    from grpc.aio import StreamUnaryMultiCallable as StreamUnaryMultiCallable
    from grpc.aio import UnaryStreamCall as UnaryStreamCall
    from grpc.aio import UnaryStreamClientInterceptor as UnaryStreamClientInterceptor
    from grpc.aio import UnaryStreamMultiCallable as UnaryStreamMultiCallable
    from grpc.aio import UnaryUnaryCall as UnaryUnaryCall
    from grpc.aio import UnaryUnaryClientInterceptor as UnaryUnaryClientInterceptor
    from grpc.aio import UnaryUnaryMultiCallable as UnaryUnaryMultiCallable
    from grpc.aio import UsageError as UsageError
    from grpc.aio import init_grpc_aio as init_grpc_aio
    from grpc.aio import shutdown_grpc_aio as shutdown_grpc_aio

    from fastrpc.grpc.aio.channels import insecure_channel, secure_channel
    from fastrpc.grpc.aio.servers import server
else:
    _ours = names_on_first_use(__name__, {"channels": "insecure_channel secure_channel", "servers": "server"})

    def __getattr__(name: str) -> Any:
        """Return our object of this name, else the object of grpc.aio."""
        if name in __all__ or name.startswith("_"):
            return _ours(name)
        from grpc import aio

        return getattr(aio, name)


def __dir__() -> list[str]:
    from grpc import aio

    return sorted({*aio.__all__, *__all__})
