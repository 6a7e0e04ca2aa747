"""Objectives of several metrics: from a `Problem` and an `Objective` to an assignment, by one of three solvers."""
