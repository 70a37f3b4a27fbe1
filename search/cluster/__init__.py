"""Ray's cluster: connected to, looked at, and divided among trials."""
