"""Confirmation: a study's best configs trained again over seeds, and ranked."""
