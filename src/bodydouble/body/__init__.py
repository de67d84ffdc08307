"""Parametric bodies behind one protocol: shape, pose, expression, parts and names."""
