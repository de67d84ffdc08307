"""The Capture on disk, video decoding and encoding, readers of foreign captures."""
