"""Cells and the links behind them in time: mobility, path loss, adaptation, scheduling, other users."""
