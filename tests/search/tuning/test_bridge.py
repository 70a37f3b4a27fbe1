from __future__ import annotations

import pytest

from search.cluster.worker_errors import why_lost

# Ray's own words, as its errors give them.
NODE = """Failure # 1 (occurred at 2026-11-22_20-00-33)
The actor died unexpectedly before finishing this task.
\tclass_name: SimulatedWorker
The actor is dead because its node has died. Node Id: 3df9b6
\tthe actor's node was terminated: expected termination.
"""
PROCESS = """Failure # 1
The actor died unexpectedly before finishing this task.
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
MEMORY = """Failure # 1
Task was killed due to the node running low on memory.
Memory on the node (IP: 10.0.0.1) was 15.2GB / 16GB (0.95), which exceeds the memory usage threshold
"""
CUT_OFF = """Failure # 1
The actor a1ef is unavailable: The actor is temporarily unavailable: RpcError: recvmsg
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NODE, "its node was lost"),
        (PROCESS, "its worker process died"),
        (MEMORY, "out of memory: Task was killed due to the node running low on memory."),
        (CUT_OFF, "its worker cannot be reached"),
        ("Failure # 1\nKeyError: 'trial'\n\n", "its worker failed: KeyError: 'trial'"),
        ("", "its worker ended"),
    ],
)
def test_a_lost_worker_is_told_in_a_line(error: str, reason: str) -> None:
    assert why_lost(error) == reason
