"""Benchmark suites: how fast and how good this version is, against a committed baseline."""
