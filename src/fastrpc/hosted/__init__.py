"""Parts that all hosted services share: the server, the rights of callers, repeats and deadlines, the blocking variant.

This package knows neither keys nor messages: `coordination` and `brokers` define the rights and errors of stores and
brokers.

It may import every package of a lower rank except `batcher`, `files`, `grpc` and `workers`.
"""
