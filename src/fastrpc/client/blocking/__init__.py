"""The client without a loop: threads dial, send and receive for themselves.

    client        `SyncClient`: options, life and views
    call_runner   runs a call that needs a connection, interceptors, or more than one attempt
    attempting    picks, connects and attempts
    pool          makes connections, by the plan that both clients share (`client/plan.py`)
    dialing       makes one connection
    following     receives the lists of a registry
    subchannel    one endpoint and the connections to it

Each module is the counterpart, without a loop, of the module of the same name one folder up.
"""
