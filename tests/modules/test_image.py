"""Images as networks read them: what convolutions leave of them, and which are too small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.cnn import NatureCNN, OpenAICNN
from rllib_rnd.modules.image import (
    NATURE_CONVS,
    ConvSpec,
    conv_output_shape,
    conv_stack,
    image_layout,
    smallest_side,
    with_channels,
)
from rllib_rnd.modules.michalnand import MichalnandA, MichalnandC, MichalnandD
from rllib_rnd.modules.self_attention import CONVS

STACKS = [cls.convolutions for cls in (NatureCNN, OpenAICNN, MichalnandA, MichalnandC, MichalnandD)] + [CONVS]


@pytest.mark.parametrize("convs", STACKS)
def test_the_smallest_side_is_the_first_that_torch_convolves(convs: tuple[ConvSpec, ...]) -> None:
    stack, side = conv_stack(1, convs, nn.ReLU), smallest_side(convs)
    for rows, columns in ((side, side), (side, side + 7), (84, 96)):
        layout = image_layout((rows, columns))
        assert layout is not None
        assert stack(torch.zeros(1, 1, rows, columns)).shape[1:] == conv_output_shape(convs, layout)
    with pytest.raises(RuntimeError):
        stack(torch.zeros(1, 1, side - 1, side + 7))


def test_the_error_names_the_side_that_these_convolutions_need() -> None:
    layout = image_layout((40, 50))
    assert layout is not None
    with pytest.raises(ConfigError, match=r"^images of 40 x 50 pixels are too small.*allowed is 44 x 44 or more"):
        conv_output_shape(OpenAICNN.convolutions, layout)
    with pytest.raises(ConfigError, match="allowed is 60 x 60 or more"):
        conv_output_shape(NatureCNN.convolutions, layout, min_side=60)
    assert conv_output_shape(NatureCNN.convolutions, layout) == (64, 1, 2)


def test_other_channels_keep_kernels_and_strides_and_fewer_leave_the_last_out() -> None:
    assert with_channels(NATURE_CONVS, (16, 32, 32)) == ((16, 8, 4, 0), (32, 4, 2, 0), (32, 3, 1, 0))
    assert with_channels(NATURE_CONVS, (16, 32)) == ((16, 8, 4, 0), (32, 4, 2, 0))
    for wrong in ((), (1, 2, 3, 4)):
        with pytest.raises(ConfigError, match="1 to 3 numbers") as error:
            with_channels(NATURE_CONVS, wrong)
        assert error.value.path == "channels"
