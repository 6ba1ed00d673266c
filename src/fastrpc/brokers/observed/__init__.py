"""Figures of brokers for monitors and for the admin page: message counters, and the states of groups.

This package may import `brokers.base` and `brokers.local.counts`. Each backend with counters has a `BrokerFigures`.
"""
