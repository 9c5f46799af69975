"""Socket types and the category of the pack's nodes."""

from comfy_api.latest import io

CATEGORY = "SyncDiffusion"

Views = io.Custom("SYNCDIFFUSION_VIEWS")
"""A core ``ViewSpec``: views in pixels, of windows or of any other canvas, resolved to latent cells in the sampler."""

Guidance = io.Custom("SYNCDIFFUSION_GUIDANCE")
"""A ``GuidanceSettings``."""

Perceptual = io.Custom("SYNCDIFFUSION_PERCEPTUAL")
"""A ``PerceptualModel``."""

Savings = io.Custom("SYNCDIFFUSION_SAVINGS")
"""A ``Savings``."""

Spectrum = io.Custom("SYNCDIFFUSION_SPECTRUM")
"""A core ``Spectrum`` of a model's latents."""

Rig = io.Custom("SYNCDIFFUSION_RIG")
"""A core ``Rig``: cameras in one point, and their field of view."""
