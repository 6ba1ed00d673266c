"""The gateway: calls that arrive by HTTP.

    connection    the life of a connection of HTTP/1.1;  service: the methods, the pages in browsers that may call
    request_state  a request between its head and the end of its response;  gateway_requests: from heads to the gate
    request_sender    the sender, before a long body is read
    http_call     what a request says of its call, by `request_fields`, `messages` and, for rpcx, `rpcx_headers`
    request_intake    whole requests into the gate;  bodies: bodies that come in parts
    path_exchange     a request to a fixed path, for its handler (`fastrpc.server.http.paths`)
    http_pages    outcomes of calls, each for the way to answer that the head has chosen, for every version of HTTP
    answering     the interface of these ways;  own_answerings, foreign_answerings: the ways, by `responses`
    socket_end    frames, memory and time of a WebSocket;  mounted_socket: one of a mounted application
    socket_talk   a WebSocket after its handshake (`request_fields`);  messages: its envelopes
    mounted_request   a request to a mounted application (`fastrpc.hosting.mounts`), which has no method
    stream_request    a stream of HTTP/2, on a connection of gRPC, as a call by gRPC-Web or Connect

Requests are answered through an `Exchange` (`exchange`): `connection` alone knows HTTP/1.1. The room knows
the gate and served connections, of gRPC its calls, and nothing of the native protocol.
"""
