"""Models that arrive in parts: packed into an artifact, served, fetched, and run from the first part on.

Source: Ayed et al., "Accordion: A Communication-Aware Machine Learning Framework for Next Generation Networks".
"""
