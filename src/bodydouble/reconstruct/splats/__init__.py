"""Gaussians seeded on the fitted body, skinned by it, trained on the video together with the poses, then baked."""
