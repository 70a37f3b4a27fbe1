"""The messages between the driver and its workers, and the observers of a run."""
