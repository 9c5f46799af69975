"""The ComfyUI side of the pack; the only place that knows the host."""
