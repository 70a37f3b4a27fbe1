"""One training, from a trial of a search to production."""
