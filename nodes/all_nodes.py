"""Every node of the pack, in the order of the menu."""

from comfy_api.latest import io

from .apply_windows import ApplyWindows
from .bake import BakeViewsToTexture
from .camera_rig import CameraRig
from .coherence import PanoramaCoherence
from .compare import ComparePanoramas
from .decode import PanoramaDecode
from .demo_model import LoadDemoModel, LoadDemoModelAround, LoadDemoModelObjects
from .depth_hints import PanoramaDepthHints
from .equirect import EquirectToViews, ViewsToEquirect
from .guidance import PerceptualSyncGuidance
from .image_views import ImageViews
from .merge_attention import MergeWindowAttention
from .mesh_views import MeshViews
from .panorama_sampler import PanoramaSampler
from .perceptual_loader import LoadPerceptualModel
from .preview_panorama import PreviewPanorama
from .region_prompts import RegionPrompts
from .sampler import SyncDiffusionSampler
from .savings import GuidanceSavings
from .spectrum import LatentSpectrum
from .sphere_views import SphereViews
from .synchronise_views import SynchroniseViews
from .tiler import WindowTiler
from .view_prompts import ViewPrompts
from .view_sampler import ViewSampler
from .view_transition import ViewTransition
from .window_prompts import WindowPrompts

NODES: list[type[io.ComfyNode]] = [
    WindowTiler,
    WindowPrompts,
    RegionPrompts,
    ImageViews,
    CameraRig,
    SphereViews,
    MeshViews,
    ViewPrompts,
    ViewTransition,
    PerceptualSyncGuidance,
    GuidanceSavings,
    PanoramaSampler,
    SyncDiffusionSampler,
    ApplyWindows,
    ViewSampler,
    SynchroniseViews,
    MergeWindowAttention,
    PanoramaDecode,
    EquirectToViews,
    ViewsToEquirect,
    PanoramaDepthHints,
    BakeViewsToTexture,
    PreviewPanorama,
    LoadPerceptualModel,
    LatentSpectrum,
    LoadDemoModel,
    LoadDemoModelAround,
    LoadDemoModelObjects,
    PanoramaCoherence,
    ComparePanoramas,
]
