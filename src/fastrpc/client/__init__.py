"""Clients: their connections, and the handling of failed attempts.

    client        `Client`: options, life and views;  refused_options: where a misplaced option belongs
    call_runner   runs a call that needs a connection, interceptors, or more than one attempt;  stream_runner: a stream
    attempting    picks, connects and attempts;  fan_out: at all endpoints at once;
                  own_call: marks the errors of calls made here
    plan          says, for both clients and without I/O, what to dial, retire and look at next;  endpoint_plan: of one
    pool          makes connections as the plan says: `dial_queue` in which order, `crowd` whether one more is of use;
                  gauges: their metrics;  placing: where attempts go
    subchannel    one endpoint, its connections and the calls that wait for one;  wire: their protocol;
                  reach_errors: the reasons of failures
    target        what an address names;  following: brings the lists of a registry;  probing: asks endpoints by itself
    credentials   the token to show;  renewal: shows another one in time
    serving       the services of a client, which its servers may call
    blocking/     the same without a loop

It may import every layer below it, `calling/` above all, and nothing of `server/`.
"""
