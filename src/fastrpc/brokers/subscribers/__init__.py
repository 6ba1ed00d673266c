"""The subscribers of a server: marked methods that the server calls for messages.

::

    Subscription ──► Subscriber ──► Deliveries ──► Gate.deliver ──► handler
      ack, nack, reject ◄──┴──── answer, fail, refuse ◄──────────────────────┘

A delivery is a call of the method with the protocol "messages". So interceptors, metrics, the access log, spans, the
thread pool and the memory budgets apply to it. The route of such a method has no name, so no client can call it.
"""
