"""What held-out frames say of a network's answers: covariance, confidence and unknown places."""
