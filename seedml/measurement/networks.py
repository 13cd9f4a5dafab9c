"""The networks that a study measures with, loaded as its configuration names them. Computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seedml.attributes import Attribute, load_attributes
from seedml.errors import UserError
from seedml.features import FeatureNetwork, load_network, network_names

if TYPE_CHECKING:
    from seedml.config import StudyConfig


def feature_network(config: StudyConfig) -> FeatureNetwork:
    """What FID is measured in.

    Raises:
        UserError: see :func:`~seedml.features.load_network`.

    """
    name = config.measure.features
    return load_network(name, config.measure.networks.get(name))


def vector_networks(config: StudyConfig) -> dict[str, FeatureNetwork]:
    """Name -> a network by whose vectors seeds are clustered and mapped.

    Raises:
        UserError: see :func:`~seedml.features.load_network`.

    """
    given = config.measure.networks
    return {name: load_network(name, given.get(name), "measure.vectors") for name in config.measure.vectors}


def measured_attributes(config: StudyConfig) -> dict[str, Attribute]:
    """The attributes, each by its rule or by the network that the configuration names for it.

    Raises:
        UserError: see :func:`~seedml.attributes.load_attributes`; or a feature network is named that nothing uses.

    """
    _check_used(config)
    of_attributes = {name: given for name, given in config.measure.networks.items() if name not in network_names()}
    return load_attributes(config.measure.attributes, of_attributes)


def _check_used(config: StudyConfig) -> None:
    """Refuse weights for a feature network that is asked for nowhere: the wrong network would be measured with."""
    spaces = {part for space in config.apply.diverse_spaces for part in space.split("+")}
    used = {config.measure.features, *config.measure.vectors, *spaces}
    for name, given in config.measure.networks.items():
        if name in network_names() and name not in used:
            raise UserError(
                f"measure.networks.{name}: nothing is measured with it", given=given,
                remedy=f"set measure.features={name}, add it to measure.vectors, or leave it out",
            )  # fmt: skip
