"""The embedded default: procedural landscapes and a tiny latent diffusion model trained on them."""
