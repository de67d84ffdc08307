"""Results of other people's trackers, as a start for the fit: readers of their files, and one value for all of them."""
