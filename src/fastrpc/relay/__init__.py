"""A relay: callers reach servers behind a NAT through one open port, with TLS from end to end.

`front` checks connections to the relay, `claims` has the servers that claimed names, `splicing` has the pairs of
connections. `transport` is `relay://` for clients and servers. The relay never dials. It may not import the command
line.
"""
