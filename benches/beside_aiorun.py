"""Python's aiorun: so many parked tasks, SIGTERM, until run() has returned.

Prints nanoseconds, or "skipped" where aiorun is not installed.
"""

import asyncio
import os
import signal
import sys
import time

try:
    import aiorun
except ImportError:
    print("skipped")
    sys.exit(0)

COUNT = int(sys.argv[1])
asked = 0


async def parked():
    await asyncio.get_running_loop().create_future()


async def main():
    global asked
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(parked()) for _ in range(COUNT)]
    await asyncio.sleep(0)  # one turn of the loop: each is parked
    asked = time.perf_counter_ns()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.gather(*tasks)


aiorun.run(main())
print(time.perf_counter_ns() - asked)
