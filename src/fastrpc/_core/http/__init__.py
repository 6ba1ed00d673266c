"""The gateway: calls that come by HTTP.

    connection    from requests to the gate;  service: what all connections at one address share
    http_call     what a request says of its call, by `request_fields`, `media_types` and, for rpcx, `rpcx_headers`
    http_method   a method as HTTP knows it;  pages: whose pages in browsers may call
    connection      from outcomes to responses: `response_lines`, errors by `problems`, streams by `messages`
    socket_talk   a WebSocket after its `handshake`;  envelopes: its messages

It knows the gate and served connections, and nothing of the native protocol.
"""
