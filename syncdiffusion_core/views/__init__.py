"""Views of a canvas: pairs of maps (project, unproject) made from one stored object."""
