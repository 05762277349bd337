"""Camera localisation for ROS 2: pose from a single image, in any of the places taught."""

__version__ = "0.1.0"
