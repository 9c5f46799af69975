"""Measurements behind the README's figures; one table a module, one command each."""
