"""Light decoders and encoders: TAESD and its kin from models/vae_approx by the host's own classes, and the demo's own.

All take and give latents in the model's scale, as the host's previews do, and never the VAE's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy.taesd.taehv import TAEHV
from comfy.taesd.taesd import TAESD
from latent_preview import VIDEO_TAES
from torch import Tensor, nn

from ....demo.export import REMEDY as PACK_REMEDY
from ....demo.light_decoder import light_decoder_of
from ....demo.light_encoder import light_encoder_of
from ....syncdiffusion_core.weights import WeightsFile, open_weights, shapes_of

FOLDER = "vae_approx"
REMEDY = "choose 'full decoder' or, for guidance, 'pooled latent'"
DAMAGED = f"get a new copy of it for models/{FOLDER}, or {REMEDY}"
SAFE = (".safetensors", ".sft")


def _to_signs(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1], as of an image VAE."""
    return 2 * image - 1


def _to_unit(image: Tensor) -> Tensor:
    return ((image + 1) / 2).clamp(0, 1)


@dataclass(frozen=True)
class LightVae:
    """What decoding and encoding ask of the host's VAE, of a network that is none."""

    first_stage_model: nn.Module
    patcher: ModelPatcher
    process_output: Callable[[Tensor], Tensor]
    process_input: Callable[[Tensor], Tensor]
    vae_dtype: torch.dtype = torch.float32
    latent_dim: int = 2

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device


def light_vae(latent_format: object) -> comfy.sd.VAE | LightVae:
    """What decodes latents of a format lightly.

    Raises ValueError where the format has no light decoder or its file is not there.
    """
    if (own := getattr(latent_format, "light_decoder_file", None)) is not None:
        return _demo_vae(light_decoder_of, own)
    name = latent_format.taesd_decoder_name
    if name is None:
        kind = type(latent_format).__name__
        raise ValueError(f"decoder: no light decoder is known for latents of the kind {kind}; {REMEDY}")
    make = _video_vae if name in VIDEO_TAES else _image_vae
    return make(_file(name), latent_format.latent_channels)


def light_encoder(latent_format: object) -> LightVae | None:
    """What encodes pictures into latents of a format lightly; None where only the VAE itself does."""
    if (own := getattr(latent_format, "light_encoder_file", None)) is not None:
        return _demo_vae(light_encoder_of, own)
    name = latent_format.taesd_decoder_name
    if name is None or name in VIDEO_TAES:
        return None
    path = _found(name.replace("decoder", "encoder"))
    return None if path is None else _image_vae(path, latent_format.latent_channels, "encoder")


def has_light_decoder(latent_format: object) -> bool:
    """Whether ``light_vae`` finds one."""
    if getattr(latent_format, "light_decoder_file", None) is not None:
        return True
    return latent_format.taesd_decoder_name is not None and _found(latent_format.taesd_decoder_name) is not None


def _found(name: str) -> str | None:
    """The path that the host's previews would find."""
    files = (file for file in folder_paths.get_filename_list(FOLDER) if file.startswith(name))
    file = next(files, None)
    return None if file is None else folder_paths.get_full_path_or_raise(FOLDER, file)


def _file(name: str) -> str:
    if (path := _found(name)) is not None:
        return path
    raise ValueError(
        f"decoder: the light decoder of this model, {name}, is not in models/{FOLDER}; put its .safetensors or .pth "
        f"file there (the host's documentation of TAESD previews names the source), or {REMEDY}"
    )


def _image_vae(path: str, channels: int, half: str = "decoder") -> LightVae:
    """TAESD as the host's previews make it: its own scale stays 1, so it takes latents in the model's.

    half: which of it the file is, decoder or encoder; the other one is not to be used.
    """
    file, weights = _read(path, f"light {half}")
    network = TAESD(latent_channels=channels)
    module = getattr(network, f"taesd_{half}")
    file.check_fit(module, f"a TAESD {half} of {channels} channels")
    module.load_state_dict(weights)
    return _light(network, _to_unit)


def _video_vae(path: str, channels: int) -> comfy.sd.VAE:
    """TAEHV in the host's class; all frames at once, because its way frame by frame cuts the gradient between them."""
    file, weights = _read(path)
    decoder = {name: shape for name, shape in file.shapes.items() if name.startswith("decoder.")}
    with torch.device("meta"):
        wanted = shapes_of(TAEHV(latent_channels=channels).decoder, "decoder.")
    replace(file, shapes=decoder).check_shapes(wanted, f"a TAEHV decoder of {channels} channels")
    vae = comfy.sd.VAE(sd=weights, dtype=torch.float32)
    vae.first_stage_model.parallel = True
    vae.process_output = lambda image: image.clamp(0, 1)
    return vae


def _read(path: str, kind: str = "light decoder") -> tuple[WeightsFile, dict[str, Tensor]]:
    """A file of that folder, safetensors or pickled, in its own types; ValueError naming it where it is damaged."""
    file = WeightsFile(Path(path), kind, DAMAGED, {}, {})
    if file.path.suffix.lower() in SAFE:
        file = open_weights(file.path, file.kind, file.remedy)
    try:
        weights = comfy.utils.load_torch_file(path, safe_load=True)
    except Exception as error:  # unpickling what is damaged raises whatever its bytes lead to
        raise file.refusal(f"not a readable {file.kind} ({error})") from error
    if not isinstance(weights, dict) or not all(
        isinstance(w, Tensor) and w.is_floating_point() for w in weights.values()
    ):
        raise file.refusal(f"not a readable {file.kind} (it holds other things than weights)")
    file.check_finite(weights)
    return replace(file, shapes={name: tuple(weight.shape) for name, weight in weights.items()}), weights


def _demo_vae(make: Callable[[WeightsFile], nn.Module], path: Path) -> LightVae:
    """Half of the demo's light codec, whose pictures are in [0, 1] on either side."""
    return _light(make(open_weights(path, "safetensors file", PACK_REMEDY)), _as_it_is, _as_it_is)


def _as_it_is(image: Tensor) -> Tensor:
    return image


def _light(
    network: nn.Module,
    process_output: Callable[[Tensor], Tensor],
    process_input: Callable[[Tensor], Tensor] = _to_signs,
) -> LightVae:
    patcher = ModelPatcher(
        network.eval().requires_grad_(False),
        load_device=comfy.model_management.vae_device(),
        offload_device=comfy.model_management.vae_offload_device(),
    )
    return LightVae(network, patcher, process_output, process_input)
