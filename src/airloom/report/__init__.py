"""Figures for people: tables, plots, the HTML page."""
