"""Latent Spectrum: how a model's pictures spread over fine and coarse, for guidance by the image prior."""

from comfy_api.latest import io

from .host.files.spectra import file_of, keep_spectrum, kept_spectrum, measure_spectrum
from .host.inputs import UNCONNECTED, check_vae, check_widgets, told
from .host.progress import say
from .sockets import CATEGORY, Spectrum


class LatentSpectrum(io.ComfyNode):
    """IMAGE, MODEL and VAE, or a name -> SPECTRUM."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SyncDiffusionLatentSpectrum",
            display_name="Latent Spectrum",
            category=CATEGORY,
            description=(
                "Measures the power spectrum of a model's latents from pictures of the kind that you make, for the "
                "gradient 'image prior (Wiener)'; keeps it under a name, and loads it by that name when no pictures "
                "are connected."
            ),
            search_aliases=["wiener", "power spectrum", "image prior", "noise spectrum", "fourier"],
            inputs=[
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Keep what is measured under this name, in models/perceptual/spectra; without images, "
                    "load what was kept; one of the same name is replaced. Empty keeps nothing. One for each kind of "
                    "VAE: SD 1.5, SDXL, Flux.",
                ),
                io.Int.Input(
                    "window_size",
                    default=512,
                    min=32,
                    max=4096,
                    step=8,
                    tooltip="Side in pixels of the squares that are cut from the pictures, the model's resolution. "
                    "What is measured serves windows of any size.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Ten or more pictures of one kind: photographs, paintings, what you make. Real ones or "
                    "good results; each is cut into as many windows as it holds.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model, for the scale of its latents; with images. It is not run.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="The VAE of the model; with images. Models of pixels need none."
                ),
            ],
            outputs=[
                Spectrum.Output(
                    display_name="spectrum",
                    tooltip="For Perceptual Sync Guidance with the gradient 'image prior (Wiener)'.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name, window_size, images=None, model=None, vae=None):
        """What is kept under the name: another measurement is another spectrum, the same one again is not."""
        try:
            return name, repr(kept_spectrum(name))
        except ValueError:
            return name

    @classmethod
    def validate_inputs(cls, name=None, images=UNCONNECTED, model=UNCONNECTED):
        """Whether there is something to measure or to load, and a name that a file can have."""
        connected = images is not UNCONNECTED
        return told(lambda: None if name is None else _check(name, connected, model is not UNCONNECTED))

    @classmethod
    def execute(cls, name, window_size, images=None, model=None, vae=None) -> io.NodeOutput:
        _check(name, images is not None, model is not None)
        check_widgets(cls, window_size=window_size)
        if images is None:
            spectrum = kept_spectrum(name)
            say(f"loaded: {_described(spectrum)}")
            return io.NodeOutput(spectrum)
        if vae is not None:
            check_vae("vae", vae)
        spectrum = measure_spectrum(model, vae, images, window_size)
        if name.strip():
            keep_spectrum(name, spectrum)
        say(f"measured: {_described(spectrum)}")
        return io.NodeOutput(spectrum)


def _check(name: str, has_images: bool, has_model: bool) -> None:
    """Raise ValueError for inputs of which nothing can be made."""
    if name.strip():
        file_of(name)
    elif not has_images:
        raise ValueError("images: nothing is connected and there is no name; connect pictures, or give a name")
    if has_images and not has_model:
        raise ValueError("model: nothing is connected; give the model whose latents are to be measured")


def _described(spectrum) -> str:
    """One line for people."""
    bends = ", ".join(f"{bend:.3g}" for bend in spectrum.bend[:4])
    more = ", ..." if len(spectrum.bend) > 4 else ""
    return f"{len(spectrum.scale)} channels from {spectrum.count} windows, level below {bends}{more} cycles a cell"
