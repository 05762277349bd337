"""Fuse poses from images with odometry: where odometry's frame lies in the map. NumPy only."""
