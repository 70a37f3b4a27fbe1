"""The Optuna study: opened, asked for trials, told of results."""
