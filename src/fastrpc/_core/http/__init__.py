"""The gateway: calls that come by HTTP.

    connection    from requests to the gate;  service: their methods, the pages in browsers that may call
    http_call     what a request says of its call, by `request_fields`, `messages` and, for rpcx, `rpcx_headers`
    http_served_connection    from outcomes to `responses`, errors included; streams by `messages`
    socket_talk   a WebSocket after its handshake (`request_fields`);  messages: its envelopes

It knows the gate and served connections, and nothing of the native protocol.
"""
