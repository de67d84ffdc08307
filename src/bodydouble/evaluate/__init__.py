"""Metrics, named protocols, and scores of avatars and of anybody's pictures."""
