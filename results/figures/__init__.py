"""Plotly figures of a study, each drawn from tables, with a note of what it shows."""
