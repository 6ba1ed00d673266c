"""Merge the answers of several workers to the values of an admin page."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fastrpc.server.admin.state import MOST_ROWS

__all__ = ["merge_of"]

#: The fields by which the rows of pages are sorted, largest first.
ORDERS = {"calls": "age_seconds", "ended": "ended", "logs": "time"}


def merge_of(name: str) -> Callable[[dict[str, dict[str, Any]]], dict[str, Any]]:
    """Return the function that makes a page's values from the workers' answers by process id."""
    merges = {
        "services": _services,
        "figures": _figures,
        "store": _store,
        "messages": _messages,
        "stacks": _stacks,
    }
    return merges.get(name) or partial(_rows, name)


def _rows(name: str, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the rows of all workers as one table."""
    rows = [
        {"process_id": int(process), **row} for process, answer in answers.items() for row in answer[name]
    ]
    if name in ORDERS:
        rows.sort(key=lambda row: -row[ORDERS[name]])
    return {"total": sum(answer["total"] for answer in answers.values()), name: rows[:MOST_ROWS]}


def _services(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the services. A state is the workers' common state, or a list of their different states."""
    services: dict[str, dict[str, Any]] = {}
    states: dict[str, set[str]] = {}
    for answer in answers.values():
        for one in answer["services"]:
            services.setdefault(one["name"], dict(one))
            states.setdefault(one["name"], set()).add(str(one["state"]))
    for name, one in services.items():
        one["state"] = _together(states[name])
    return {"services": list(services.values())}


def _figures(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the services, the state and the levels of loggers. If workers differ, all their values are listed."""
    names = dict.fromkeys(name for answer in answers.values() for name in answer["log_levels"])
    levels = {name: _together(answer["log_levels"][name] for answer in answers.values()) for name in names}
    state = _together(answer["state"] for answer in answers.values())
    return {"state": state, "log_levels": levels} | _services(answers)


def _together(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _store(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the store of the worker that has one."""
    return next((answer for answer in answers.values() if answer["store"]), {"store": []})


def _messages(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the broker with the counts of all workers added up, and the list of groups from one worker."""
    shown = [answer for answer in answers.values() if answer["messages"]]
    if not shown:
        return {"messages": []}
    topics: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in shown:
        for row in answer["topics"]:
            counts = dict(row)
            topics[counts.pop("topic")].update(counts)
    # The longest list, because a worker may not have fetched the groups from its broker's server yet.
    most = max(shown, key=lambda answer: len(answer["groups"]))
    return {
        "messages": most["messages"] | {"topics": len(topics)},
        "topics": [{"topic": name, **topics[name]} for name in sorted(topics)[:MOST_ROWS]],
        "groups": most["groups"],
    }


def _stacks(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the threads and tasks of all workers."""
    merged: dict[str, Any] = {"total": sum(answer["total"] for answer in answers.values())}
    for part in ("threads", "tasks"):
        merged[part] = [
            {"process_id": int(process), **row} for process, answer in answers.items() for row in answer[part]
        ]
    return merged
