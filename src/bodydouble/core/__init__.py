"""Tensor structs, errors, geometry, cameras, skinning, events and atomic files: what every other room stands on."""
