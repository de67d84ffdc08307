"""bodydouble: one ordinary video of a person in, that person's animatable double out."""

__version__ = "0.1.0"
