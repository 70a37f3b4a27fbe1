"""Where a study lies: files, an object store, a database, and the lock on it."""
