"""Many videos: planned, worked through by Ray tasks, kept in a catalogue."""
