"""Eq. 14: targets, the gradient of the distance to them, and its way back to the state."""
