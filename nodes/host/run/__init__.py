"""A run: its plan, what is made of it once, its loops, and what watches over it."""
