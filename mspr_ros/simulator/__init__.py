"""A textured world with exact poses: the camera for those who have none yet."""
