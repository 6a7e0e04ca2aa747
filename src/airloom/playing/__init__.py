"""Scenarios played: in virtual time, in real processes for a while, and the two side by side."""
