"""Whole runs: stages over a folder, and what people ask of their results."""
