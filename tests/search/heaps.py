"""How many heaps glibc has for a process' threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path


def heaps_of_threads() -> int:
    """Start threads that allocate; count the heaps that there are apart from the first one."""
    held, done = [], threading.Event()

    def take() -> None:
        held.append([bytearray(100_000) for _ in range(300)])
        done.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(held) < len(threads):
        time.sleep(0.01)
    # They are mappings of 64 MB, of no file, which begin at a multiple of that.
    found = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode, *name = line.split()
        found += inode == "0" and not name and int(span.split("-")[0], 16) % 2**26 == 0
    done.set()
    for thread in threads:
        thread.join()
    return found
