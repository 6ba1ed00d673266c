"""What was left open does not keep the interpreter from ending."""

import subprocess
import sys

import pytest

FORGOTTEN_POOL = """
import asyncio
from fastrpc.server.workers import Workers

class Job:
    expired = False
    def __init__(self): self.ended = asyncio.Event()
    def run(self): print("ran", flush=True)
    def refuse(self, reason): raise AssertionError(reason)
    def done(self): self.ended.set()

async def main():
    global workers
    workers = Workers(threads=4, queue_length=10, queue_age=1, loop=asyncio.get_running_loop())
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

async def stay(call, proceed):
    print("asked", flush=True)
    if not answers:
        await asyncio.Event().wait()
    return await proceed(call)

async def main():
    global client, server
    server = fastrpc.Server(interceptors=[stay])
    await server.__aenter__()
    address = str(await server.listen("memory://probed"))
    config = fastrpc.ClientConfig(pool=Pool(probes=Probes(interval=60)))
    client = fastrpc.Client([address, "memory://nobody"], config=config)
    await client.__aenter__()
    await client.ready()
    await asyncio.sleep(0.1)

"""


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize(
    "end", ["asyncio.run(main())", "asyncio.new_event_loop().run_until_complete(main())"]
)
def test_probes_of_a_client_that_nobody_closed_end_without_a_word(end: str, answers: bool) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"{FORGOTTEN_PROBES}\nanswers = {answers}\n{end}"],
        capture_output=True,
        text=True,
        timeout=8,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("asked\n", "", 0)
