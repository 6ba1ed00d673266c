"""The shared state of the processes of one server, and their admin pages.

    scoreboard  their shared memory
    reporter    writes a process's state there, and answers questions;  counted: its counts, which outlive it
    monitor     asks the processes, and serves the pages;  merging: makes one page of their answers
    acted_workers  passes acts on;  kept_settings: settings made by acts, for each process

This package may import modules of `workers/` and all lower-ranked packages, but not `client/`.
"""
