"""Canvases and the views of them, a file each."""
