"""The subscribers of a server: marked methods that it runs for messages.

::

    Subscription ──► Subscriber ──► Deliveries ──► Gate.deliver ──► handler
      ack, nack, reject ◄──┴──── answer, fail, refuse ◄──────────────────────┘

A delivery is a call of the method by the protocol "messages". So interceptors, metrics, the access log, spans, the pool
of threads and the budgets of memory hold for it. No name leads to the route of such a method, so no caller reaches it.
"""
