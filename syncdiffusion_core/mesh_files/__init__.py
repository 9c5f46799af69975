"""Meshes out of the bytes of GLB, glTF, OBJ, STL and PLY files.

Why a reader of our own: trimesh 5.2, tried on the same files, takes 10 GB for a count that stands in 600 bytes, gives
zeros for compressed meshes and hands on NaN and corners that do not exist, and half of what it raises are no sentences.
Here no other file is opened, nothing is allocated that the bytes do not hold, and all that is raised is a ValueError
that names the file.
"""
