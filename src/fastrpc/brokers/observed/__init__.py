"""Brokers for monitors and for the admin page: counts of messages, and the states of groups.

It may import `brokers.base` and the counts of `brokers.local`; each backend that counts holds its figures.
"""
