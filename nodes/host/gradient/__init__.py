"""What guidance differentiates: decoders, perceptual networks, and the ways back through them."""
