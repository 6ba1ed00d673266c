"""HTTP requests and responses. Code that answers requests does not depend on the version of HTTP.

    request_head    method, target and fields of a request
    exchange        Exchange, a request and its answer in one version of HTTP;  HttpApplication, which answers requests
    received_exchange  ReceivedExchange, the steps that all versions have in common
    pages           Pages, the HTTP requests of one connection, and the outcomes of their calls (`link/contract`)

It may import `server` and lower rooms.
"""
