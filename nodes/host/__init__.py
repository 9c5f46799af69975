"""Adapters: the host's model, VAE, memory and progress as the core's callables."""
