"""What to look at before a search: leaks, statistics, previews, better splits."""
