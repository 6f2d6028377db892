"""A change that is not meant to change numbers changes none: short runs against the recorded ones."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import BACKBONES
from tests import loss_curves

pytestmark = pytest.mark.usefixtures("ray_session")

RECORDED_ON, CURVES = loss_curves.recorded()
CASES = loss_curves.cases()


def test_every_reward_loss_and_backbone_is_recorded() -> None:
    assert sorted(loss_curves.REWARDS) == INTRINSIC_REWARDS.names()
    assert sorted(loss_curves.LOSSES) == AUXILIARY_LOSSES.names()
    assert sorted(loss_curves.BACKBONES) == BACKBONES.names()
    assert list(CASES) == list(CURVES)


@pytest.mark.parametrize("name", CASES)
def test_a_short_run_gives_the_recorded_numbers(name: str) -> None:
    curve, expected = loss_curves.run(CASES[name]), CURVES[name]
    exact = loss_curves.processor() == RECORDED_ON
    for numbers, kept in zip(curve, expected, strict=True):
        assert numbers.keys() == kept.keys()
        if exact:
            assert {k: (v, kept[k]) for k, v in numbers.items() if v.hex() != kept[k].hex()} == {}
        else:  # other kernels round otherwise, and what is rounded otherwise drifts
            np.testing.assert_allclose(list(numbers.values()), list(kept.values()), rtol=0.02, atol=2e-3)
