"""The folder that ``export`` writes: best.yaml, the model, its card."""
