"""Metrics, named protocols and held-out evaluation of an avatar."""
