"""Clients: their connections, and the handling of failed attempts.

    client        `Client`: options, life and views;  refused_options: messages for misplaced options
    parts         the objects of a client, and the checks that `Client` and `SyncClient` share
    call_runner   runs a call that needs a connection, interceptors, or more than one attempt;  stream_runner: a stream
    attempting    picks, connects and attempts;  fan_out: calls at all endpoints
    plan          decides, for both clients and without I/O, what to dial, retire and check next;  endpoint_plan: the
                  part for one endpoint
    pool          makes the connections of the plan: `dial_queue` orders the dials, `crowd` detects when another
                  connection helps;  gauges: their metrics;  placing: where attempts go
    subchannel    one endpoint, its connections and the calls that wait for them;  connector: dials them;
                  wire: their protocol;  reach_errors: the reasons of failures
    target        the meaning of an address;  following: receives the lists of a registry;  probing: health checks
    credentials   the token for servers;  renewal: sends a new one before it expires
    serving       the services of a client, which its servers may call
    blocking/     the same without a loop;  services/: one client for many services

This package may import every package of a lower rank, above all `peers/`, and nothing of `server/`.
"""
