"""A body model, laid over what was observed."""
