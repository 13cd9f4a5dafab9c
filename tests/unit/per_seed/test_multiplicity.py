from __future__ import annotations

import numpy as np

from seedml.per_seed.multiplicity import q_values, verdicts


def test_adjusted_p_values_are_benjamini_and_hochbergs() -> None:
    # their example, Benjamini & Hochberg 1995, section 4.1: four rejections at 0.05
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
                  0.6528, 0.7590, 1.0])  # fmt: skip
    q = q_values(p)
    assert (q <= 0.05).sum() == 4
    by_hand = np.minimum.accumulate((p * 15 / np.arange(1, 16))[::-1])[::-1]
    np.testing.assert_allclose(q, by_hand, rtol=1e-12)
    shuffled = np.random.default_rng(0).permutation(15)
    np.testing.assert_allclose(q_values(p[shuffled]), q[shuffled])


def test_unknown_p_values_stay_unknown_and_do_not_count() -> None:
    q = q_values(np.array([0.01, np.nan, 0.5]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.5])
    assert np.isnan(q_values(np.full(3, np.nan))).all()


def test_verdicts_need_a_direction_and_certainty() -> None:
    found = verdicts(np.array([-1.0, 1.0, -1.0, 1.0, 0.0]), np.array([0.05, 0.01, 0.06, np.nan, 0.0]), 0.05)
    assert found.tolist() == ["golden", "inferior", "inconclusive", "inconclusive", "inconclusive"]
