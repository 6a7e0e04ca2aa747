"""Pretends: drives the same engine with a virtual clock and link models."""
