"""The studio: an avatar in a browser on the same machine, moving, posed, compared with its video, exported."""
