"""Plotly figures of a study, each drawn from tables and told with a note of what it shows."""
