from concurrent.futures import ThreadPoolExecutor
class Workers:
    def __init__(self, *, loop, threads, queue_length, queue_age):
        self.loop=loop; self.ex=ThreadPoolExecutor(threads)
    def submit(self, job):
        def run():
            job.run()
            self.loop.call_soon_threadsafe(job.done)
        self.ex.submit(run)
    def close(self, wait=False):
        self.ex.shutdown(wait=wait)
