"""How different two pictures look to people: vectors whose squared distance is LPIPS, to a few per cent.

For variety: name it in ``apply.diverse_spaces``. The long vectors of ``networks/lpips.py`` are brought to 2,048 numbers
by a sparse random projection, which keeps squared distances in the mean and to about √(2 / 2048) = 3 % (standard
deviation; Charikar, Chen & Farach-Colton 2002, "Finding frequent items in data streams").
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seedml.networks.lpips import WEIGHTS as WEIGHTS
from seedml.networks.lpips import Lpips

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneReading

DIMENSION = 2048
PROJECTION_SEED = 0
"""Of numpy's default generator, which draws the projection."""
AT_ONCE = 8
"""Pictures that go through the network together, whatever the batch."""
_KEY = "measure.networks.lpips"


class LpipsFeatures:
    """Vectors whose squared Euclidean distance is LPIPS; their distance is its root. Unit: none.

    Pictures of two sizes do not compare: the projection is drawn for each length of vector.

    Args:
        given: ``alex``, ``vgg``, ``squeeze``, or the path of torchvision's weights of one of these.

    Raises:
        UserError: no such file, or other weights.

    """

    name = "lpips"
    dimension = DIMENSION
    needs_reading = False
    resize = "none; bilinear to 64 pixels where the shorter side is less"

    def __init__(self, given: str) -> None:
        self._network = Lpips(_KEY, given).eval()
        self.weights = self._network.sha256
        self.version = f"1 {self._network.backbone} {self.weights[:16]}"

    def to(self, device: torch.device) -> LpipsFeatures:
        """Move the weights."""
        self._network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 2048`` float32."""
        return torch.cat([sketched(self._network(part)) for part in torch.split(images, AT_ONCE)])


def sketched(entries: Tensor) -> Tensor:
    """``N × E`` -> ``N × 2048``: every entry goes, with a random sign, to one random place."""
    places, signs = (part.to(entries.device) for part in _projection(entries.shape[1]))
    return entries.new_zeros(len(entries), DIMENSION).index_add_(1, places, entries * signs)


@lru_cache(maxsize=2)
def _projection(entries: int) -> tuple[Tensor, Tensor]:
    """Place ``E`` int64 and sign ``E`` float32 of every entry."""
    generator = np.random.default_rng(PROJECTION_SEED)
    places = generator.integers(0, DIMENSION, entries)
    signs = generator.integers(0, 2, entries, dtype=np.int8) * 2 - 1
    return torch.from_numpy(places), torch.from_numpy(signs.astype(np.float32))


def with_network(given: str) -> LpipsFeatures:
    """The vectors of this backbone; see :class:`LpipsFeatures`."""
    return LpipsFeatures(given)
