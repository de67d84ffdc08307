"""The window and the constants of SSIM (Wang et al. 2004) for values in [0, 1], which loss and kernel share."""

from __future__ import annotations

WINDOW = 11
"""Pixels on a side."""
SIGMA = 1.5
"""Of the Gaussian, pixels."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps the quotients of means and of variances steady."""
