"""The gateway: calls that come by HTTP.

    connection    from requests to the gate;  service: their methods, the pages in browsers that may call
    request_sender    the sender of a request, before a long body is read
    http_call     what a request says of its call, by `request_fields`, `messages` and, for rpcx, `rpcx_headers`
    http_served_connection    from outcomes to `responses`, errors included; streams by `messages`
    socket_end    frames, memory and time of a WebSocket;  mounted_socket: one of a mounted application
    socket_talk   a WebSocket after its handshake (`request_fields`);  messages: its envelopes
    mounted_request   a request to a mounted application (`fastrpc.hosting.mounts`), which has no method
    stream_request    a stream of HTTP/2, on a connection of gRPC, as a call by gRPC-Web or Connect

It knows the gate and served connections, of gRPC its calls, and nothing of the native protocol.
"""
