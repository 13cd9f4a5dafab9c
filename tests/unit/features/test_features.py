from __future__ import annotations

import pytest
import torch

from seedml.errors import UserError
from seedml.features import load_network, network_names


def test_the_bundled_network_hands_on_the_parsers_features() -> None:
    network = load_network("bundled")
    assert (network.name, network.dimension, network.needs_reading) == ("bundled", 64, True)
    assert "128" in network.resize

    class Reading:
        features = torch.arange(128.0).view(2, 64).half()

    found = network.to(torch.device("cpu"))(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), Reading())  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.arange(128.0).view(2, 64))
    assert found.dtype == torch.float32


def test_an_unknown_network_lists_the_known_ones() -> None:
    assert "bundled" in network_names()
    with pytest.raises(UserError, match=r"unknown feature network.*bundle.*did you mean 'bundled'"):
        load_network("bundle")
