"""How a batch of windows is known on its way through the host."""

from ...syncdiffusion_core.denoiser import Rows

KEY = "syncdiffusion"
"""Of our wrappers, and of the entry in ``transformer_options`` that says which windows a batch holds."""


def tagged(model_options: dict, rows: Rows) -> dict:
    """A shallow copy of the options that says which windows the batch holds."""
    return {**model_options, "transformer_options": {**model_options.get("transformer_options", {}), KEY: rows}}
