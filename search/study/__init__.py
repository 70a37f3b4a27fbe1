"""The Optuna study: opening it, proposing trials, recording results."""
