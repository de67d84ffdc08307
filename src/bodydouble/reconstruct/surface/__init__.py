"""From capture to surface double: a canonical signed distance field and a world that together explain the video."""
