"""The mathematics: noise by position, schedules, denoisers, samplers and blending; knows no maps.

Everything speaks the variance exploding form ``x = clean + sigma * noise`` and one signature,
``Denoise = (x, sigma) -> clean x``: preconditioning, guidance and windowing wrap it and keep it,
the samplers are plain functions of it.
"""

from geodiff.diffusion.blend import count_windows, cover, gaussian, offsets, tent, uniform
from geodiff.diffusion.denoise import Denoise, Guided, Precondition, Switched, Velocity, Windowed
from geodiff.diffusion.lanes import in_order, lanes_on
from geodiff.diffusion.loss import flow_matching_loss
from geodiff.diffusion.noise import NOISE_VERSION, plane
from geodiff.diffusion.samplers import ancestral, dpmpp_2m, euler, heun
from geodiff.diffusion.schedule import flow_sigmas, published, sample_times
from geodiff.diffusion.steer import Steered

__all__ = [
    "NOISE_VERSION",
    "Denoise",
    "Guided",
    "Precondition",
    "Steered",
    "Switched",
    "Velocity",
    "Windowed",
    "ancestral",
    "count_windows",
    "cover",
    "dpmpp_2m",
    "euler",
    "flow_matching_loss",
    "flow_sigmas",
    "gaussian",
    "heun",
    "in_order",
    "lanes_on",
    "offsets",
    "plane",
    "published",
    "sample_times",
    "tent",
    "uniform",
]
