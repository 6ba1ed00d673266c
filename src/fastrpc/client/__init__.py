"""Clients: their connections, and the handling of failed attempts.

    client        `Client`: options, life and views;  refused_options: the right place of a misplaced option
    parts         the objects that it consists of, and the checks that both kinds share
    call_runner   runs a call that needs a connection, interceptors, or more than one attempt;  stream_runner: a stream
    attempting    picks, connects and attempts;  fan_out: at all endpoints at once
    plan          decides, for both clients and without I/O, what to dial, retire and check next;  endpoint_plan: of one
    pool          makes the connections of the plan: `dial_queue` orders the dials, `crowd` finds when one more helps;
                  gauges: their metrics;  placing: where attempts go
    subchannel    one endpoint, its connections and the calls that wait for one;  connector: dials them;
                  wire: their protocol;  reach_errors: the reasons of failures
    target        the meaning of an address;  following: brings the lists of a registry;  probing: checks of health
    credentials   the token to show;  renewal: shows another one in time
    serving       the services of a client, which its servers may call
    blocking/     the same without a loop;  services/: one client for many services

This package may import every package of a lower rank, above all `peers/`, and nothing of `server/`.
"""
