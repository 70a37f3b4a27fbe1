"""The data on the cluster: prepared, copied to nodes, shared between trials."""
