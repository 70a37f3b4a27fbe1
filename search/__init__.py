"""The search itself: config, space, study, Ray workers and the command line."""
