"""Synthetic performers with known truth: body, clothes, motion, room, picture."""
