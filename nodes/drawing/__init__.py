"""Pictures of figures: PIL and numbers in, PIL out; neither torch nor the host."""
