"""The configured scheduler of a pipeline, or one line that says why it cannot be. Knows no network."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from seedml.errors import UserError, unknown_name
from seedml.models.families import family_of
from seedml.models.folder import ModelFacts

_MORE = ("LCMScheduler", "TCDScheduler")
"""Run on the pipelines of diffusion models, though diffusers' own list leaves them out."""
_FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler")
"""For flow models; diffusion schedulers that know ``use_flow_sigmas`` run on them too."""


def build_scheduler(own: Any, facts: ModelFacts) -> Any:
    """A fresh scheduler of the configured class, with the folder's values where no option replaces them.

    Args:
        own: the scheduler in the model's folder.
        facts: of the model.

    Raises:
        UserError: an unknown class or option, one that needs a package, or one that refuses this number of steps.

    """
    sampling = facts.sampling
    known = able_schedulers(own)
    if sampling.scheduler not in known:
        raise unknown_name("sampler.scheduler", sampling.scheduler, known)
    cls = known[sampling.scheduler]
    options = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for name in sampling.scheduler_options:
        if name not in options:
            raise unknown_name(f"model.scheduler_options for {sampling.scheduler}", name, options)
    try:
        scheduler = cls.from_config(own.config, **sampling.scheduler_options)
        if is_flow(own) and not is_flow(scheduler):
            raise ValueError("the model is a flow: it needs scheduler_options use_flow_sigmas: true")
        _try_steps(scheduler, facts)
    except (ImportError, NotImplementedError, ValueError, TypeError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the scheduler cannot be used ({reason})",
            given=f"{sampling.scheduler}, {sampling.steps} steps, options {sampling.scheduler_options}",
            remedy="choose another sampler.scheduler, sampler.steps or model.scheduler_options",
        ) from error  # fmt: skip
    return scheduler


def able_schedulers(own: Any) -> dict[str, Any]:
    """Name -> class of the schedulers that run on a model which comes with ``own``."""
    import diffusers
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

    names = [scheduler.name for scheduler in KarrasDiffusionSchedulers]
    if is_flow(own):
        names = [name for name in names if _knows_flow(getattr(diffusers, name))] + list(_FLOW)
    else:
        names += _MORE
    return {name: getattr(diffusers, name) for name in names} | {type(own).__name__: type(own)}


def is_flow(scheduler: Any) -> bool:
    """Whether it integrates a flow from noise to image, rather than undoing a diffusion."""
    return type(scheduler).__name__ in _FLOW or bool(scheduler.config.get("use_flow_sigmas"))


def _knows_flow(cls: Any) -> bool:
    return "use_flow_sigmas" in inspect.signature(cls.__init__).parameters


def _try_steps(scheduler: Any, facts: ModelFacts) -> None:
    """Some refuse some numbers of steps, or what a pipeline gives beside it: find out before the first image."""
    steps = facts.sampling.steps
    more: dict[str, Any] = {}
    if family_of(facts.pipeline).packed:  # as FluxPipeline calls it
        more["mu"] = 1.0
        if not scheduler.config.get("use_flow_sigmas"):
            more["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    elif scheduler.config.get("use_dynamic_shifting"):
        more["mu"] = 1.0
    scheduler.set_timesteps(steps, **more)
