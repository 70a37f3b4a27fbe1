"""How many heaps glibc has for a process' threads."""

from __future__ import annotations

import ctypes
import tempfile
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
    found = heaps_of_process() - 1
    done.set()
    for thread in threads:
        thread.join()
    return found


def heaps_of_process() -> int:
    """Return how many heaps glibc's own account lists (``man malloc_info``).

    They cannot be told by their addresses: from Linux 6.7 on, other large mappings are aligned too.
    """
    c_library = ctypes.CDLL(None)
    c_library.fopen.restype = ctypes.c_void_p
    with tempfile.NamedTemporaryFile() as account:
        stream = ctypes.c_void_p(c_library.fopen(account.name.encode(), b"w"))
        c_library.malloc_info(0, stream)
        c_library.fclose(stream)
        return Path(account.name).read_text().count("<heap nr=")
