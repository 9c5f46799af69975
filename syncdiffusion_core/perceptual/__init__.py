"""Perceptual distances: features of an image once, distances between features."""
