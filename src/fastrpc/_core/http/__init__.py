"""The gateway: calls that arrive by HTTP.

    connection    the life of an HTTP/1.1 connection;  service: the methods, and the web pages that may call them
    request_state  a request between its head and the end of its response;  gateway_requests: from heads to the gate
    request_sender    the check of the sender, before a long body is read
    http_call     the call that a request describes, by `request_fields`, `messages` and, for rpcx, `rpcx_headers`
    request_intake    passes whole requests to the gate;  bodies: bodies that are read in parts
    path_exchange     a request to a fixed path, for its handler (`fastrpc.server.http.paths`)
    http_pages    the outcomes of calls, passed to the `Answering` that the head has chosen, for every version of HTTP
    answering     the interface `Answering`;  own_answerings, foreign_answerings: its implementations, by `responses`
    socket_end    frames, memory and time of a WebSocket;  mounted_socket: a WebSocket of a mounted application
    socket_talk   a WebSocket after its handshake (`request_fields`);  messages: its envelopes
    mounted_request   a request to a mounted application (`fastrpc.hosting.mounts`), which has no method
    stream_request    an HTTP/2 stream, on a connection of gRPC, as a call by gRPC-Web or Connect

Requests are answered through an `Exchange` (`exchange`): only `connection` depends on HTTP/1.1. The package uses the
gate, served connections and the calls of gRPC; it does not use the native protocol.
"""
