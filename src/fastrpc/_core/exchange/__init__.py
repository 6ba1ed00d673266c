"""Requests of HTTP and their answers, in every version of it: what answers them knows no version.

    request_head    method, target and fields of a request
    exchange        Exchange, a request and its answer in one version of HTTP;  HttpApplication, which answers requests
    received_exchange  ReceivedExchange, the steps that all versions have in common
    pages           Pages, which a connection holds for its requests: the outcomes of their calls, by the contract

It may import `server` and lower rooms.
"""
