"""A run of a study: Ray Tune around the Optuna study."""
