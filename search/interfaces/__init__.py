"""What the driver and its workers tell each other, and who is told."""
