"""The shared state of the processes of one server, and their admin pages.

    scoreboard  the memory that they share
    reporter    writes the state of one process there, and answers questions;  counted: its counts, which outlive it
    monitor     asks them, and serves the pages;  merging: makes one page of their answers
    acted_workers  passes acts on;  kept_settings: what acts have set, for each process

May import the modules of `workers/` and every layer below them, and nothing of `client/`.
"""
