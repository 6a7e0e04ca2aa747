"""Decides: where each operator runs and how each cut travels."""
