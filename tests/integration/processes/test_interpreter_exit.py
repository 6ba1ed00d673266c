"""Open objects do not keep the interpreter from ending."""

import subprocess
import sys

import pytest

FORGOTTEN_POOL = """
import asyncio
from fastrpc.handlers.thread_pool import ThreadPool

class Job:
    expired = False
    def __init__(self): self.ended = asyncio.Event()
    def run(self): print("ran", flush=True)
    def refuse(self, reason): raise AssertionError(reason)
    def done(self): self.ended.set()

async def main():
    global workers
    workers = ThreadPool(threads=4, queue_length=10, queue_age=1, loop=asyncio.get_running_loop())
    job = Job()
    workers.submit(job)
    await job.ended.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import sys; sys.exit(0)"])
def test_a_pool_that_nobody_closed_ends_with_the_interpreter(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORGOTTEN_POOL + end], capture_output=True, text=True, timeout=8, check=False
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("ran\n", "", 0)


FORGOTTEN_PROBES = """
import asyncio
import fastrpc
from fastrpc.config import Pool, Probes

asked = []

async def stay(call, proceed):
    asked.append(call.method)
    if len(asked) == 2:
        both.set()
    if not answers:
        await asyncio.Event().wait()
    return await proceed(call)

async def main():
    global both, client, server
    both = asyncio.Event()
    server = fastrpc.Server(interceptors=[stay])
    await server.__aenter__()
    places = [str(await server.listen(f"memory://{name}")) for name in ("first", "second")]
    config = fastrpc.ClientConfig(pool=Pool(probes=Probes(interval=60)))
    client = fastrpc.Client(places, config=config)
    await client.__aenter__()
    await client.ready()
    await both.wait()
    print(*asked)
"""


@pytest.mark.parametrize(
    ("end", "answers"),
    [
        ("asyncio.run(main())", True),
        ("asyncio.run(main())", False),
        ("asyncio.new_event_loop().run_until_complete(main())", True),
    ],
)
def test_probes_of_a_client_that_nobody_closed_end_without_a_word(end: str, answers: bool) -> None:
    program = f"{FORGOTTEN_PROBES}\nanswers = {answers}\n{end}"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=8, check=False
    )
    asked = "fastrpc.health.check fastrpc.health.check\n"
    assert (ended.stdout, ended.stderr, ended.returncode) == (asked, "", 0)
