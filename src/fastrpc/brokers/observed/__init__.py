"""Brokers for monitors and for the admin page: counts of messages, and the states of groups.

May import `brokers.base` and the counts of `brokers.local`; each backend that counts holds its figures.
"""
