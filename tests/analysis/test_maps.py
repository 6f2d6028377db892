"""The contract of maps: their shape, what is constant, names of files."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_rnd.analysis.maps import Map, file_name


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((2, 3)), r"shape \[2, 3\]"),
        (np.zeros((2, 0, 3)), r"shape \[2, 0, 3\]"),
        (np.full((1, 2, 2), np.nan), "finite"),
        (np.full((1, 2, 2), 1e300), "finite"),
    ],
)
def test_what_is_no_map_is_refused(values: np.ndarray, problem: str) -> None:
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=problem):
        Map(values, "a map")


def test_constant_maps_are_told_apart() -> None:
    values = np.array([[[0.0, 0.0]], [[5.0, 5.0]], [[5.0, 5.1]], [[1e-9, 0.0]], [[1e6, 1e6 + 0.01]]])
    assert Map(values, "a map").constant.tolist() == [True, True, False, False, True]
    assert Map(values, "a map").values.dtype == np.float32


def test_names_are_fit_for_files() -> None:
    assert file_name("gradcam", "intrinsic_value: rnd") == "gradcam-intrinsic_value-rnd"
    assert file_name("a", "my_plugins/x:Mine 2") == "a-my_plugins-x-Mine-2"
