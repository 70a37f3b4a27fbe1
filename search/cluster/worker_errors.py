"""Why a worker of Ray was lost, in words."""

from __future__ import annotations

from search.process.memory import OUT_OF_MEMORY, is_out_of_memory, out_of_memory_line


def why_lost(error: str) -> str:
    """Say in a line why Ray has lost a worker, from the text of its error."""
    if is_out_of_memory(error):
        return f"{OUT_OF_MEMORY}: {out_of_memory_line(error)}"
    for sign, reason in _LOSSES.items():
        if sign in error:
            return reason
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return f"its worker failed: {lines[-1]}" if lines else "its worker ended"


# In this order: a lost node takes its processes along.
_LOSSES = {
    "node has died": "its node was lost",
    "node was terminated": "its node was lost",
    "is unavailable": "its worker cannot be reached",
    "actor died": "its worker process died",
    "actor is dead": "its worker process died",
    "worker process has died": "its worker process died",
}
