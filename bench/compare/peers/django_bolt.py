"""django-bolt, whose HTTP runs in Rust, started by its command `runbolt`."""

import os
import sys
import threading
from pathlib import Path

import django
import django_bolt  # noqa: F401  (Django imports it only once it serves)
from django.conf import settings
from django.core.management import call_command

from bench.compare.http_server import HttpServer, free_port, wait_until_listening
from bench.compare.peers.base import BACKLOG, Peer, announce, wait_for_end_of_input
from bench.compare.workloads import Workload


class DjangoBolt(HttpServer):
    """One process with one worker; the command keeps the main thread."""

    def serve(self, directory: Path, workload: Workload) -> None:
        settings.configure(
            INSTALLED_APPS=["django_bolt"],
            BOLT_API=["bench.compare.bolt_application:api"],
            ROOT_URLCONF="bench",
        )
        django.setup()
        port = free_port()
        threading.Thread(target=_announce_and_end, args=[port], daemon=True).start()
        # Standard output is for the announcement.
        call_command(
            "runbolt", host="127.0.0.1", port=port, no_admin=True, backlog=BACKLOG, stdout=sys.stderr
        )


def _announce_and_end(port: int) -> None:
    wait_until_listening(port)
    announce(f"http://127.0.0.1:{port}")
    wait_for_end_of_input()
    # The server's own shutdown waits until clients have closed their connections.
    os._exit(0)


PEERS: tuple[Peer, ...] = (
    DjangoBolt("django_bolt", "django-bolt, uvloop", family="django-bolt", by_default=False),
)
