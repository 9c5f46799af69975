"""Synchronised diffusion over windows of one canvas, in pure torch: no host, no I/O, no globals."""
