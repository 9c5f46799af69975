"""Figures of coherence and quality."""
