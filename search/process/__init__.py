"""One process: its threads, memory and hardware, and how it is stopped."""
