"""What the layers of an agent's networks make of states, as vectors of bounded size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.projection import reward_features
from rllib_rnd.analysis.states import network_inputs

#: Numbers of a layer per state at most, before principal components are taken: larger maps are averaged over places.
MAX_NUMBERS = 4096
#: Layers of so many numbers are read as they are; principal components of few would hide what lies in none of them.
READ_WHOLE = 256
# Deviation below which a number or a component is dropped, as a share of the largest of its layer.
_LEAST_SCALE = 1e-4
PIXELS = "pixels"
MEMORY = "memory"
_CHUNK = 256
#: Layers that every backbone has, beside its `feature_maps`.
BODY = ("policy", "extrinsic", "intrinsic", MEMORY)
_MAY_BE_SAME = (("extrinsic", "policy"), ("intrinsic", "policy"), ("intrinsic", "extrinsic"), (MEMORY, "policy"))


@torch.no_grad()
def layer_features(
    agent: Agent,
    obs: np.ndarray,
    memory: np.ndarray,
    is_first: np.ndarray,
    advance: Callable[[int], object] = id,
    wanted: Collection[str] = (),
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What each layer makes of B states.

    Layers are the backbone's `feature_maps`, what the three heads read (``policy``, ``extrinsic``, ``intrinsic``; what
    is the same as one before it is left out), the recurrent ``memory`` after the state was seen, and the features of
    the intrinsic rewards ("rnd target", "rnd predictor").

    Args:
        agent: whose networks.
        obs: ``[B, *obs_shape]`` raw.
        memory: ``[B, F]`` of this agent, before ``obs``.
        is_first: ``[B]`` bool.
        advance: is told how many states have been seen.
        wanted: layers; none: all. One that is asked for without the one that it is the same as is read.

    Returns:
        Layer -> ``[B, D]`` float32 with D at most `MAX_NUMBERS`; and layer -> why it was left out.
    """
    backbone = agent.module.backbone
    names = backbone.feature_maps()
    seen: dict[str, list[np.ndarray]] = {}
    left_out: dict[str, str] = {}
    with _outputs_of(backbone, names) as outputs:
        for start in range(0, len(obs), _CHUNK):
            rows = slice(start, start + _CHUNK)
            outputs.clear()
            result = backbone(*network_inputs(agent, obs[rows], memory[rows], is_first[rows]))
            layers = {name: outputs[name] for name in names if name in outputs}
            layers |= {"policy": result.policy, "extrinsic": result.extrinsic, "intrinsic": result.intrinsic}
            if result.state is not None:
                layers[MEMORY] = result.state
            count = len(obs[rows])
            for name, values in layers.items():
                if wanted and name not in wanted:
                    continue
                if len(values) != count:
                    if len(values) != 2 * count:
                        left_out[name] = f"gives {len(values)} rows for {count} states"
                        continue
                    # Two passes of the same states, one after the other (a ViT with a token to each pass).
                    values = torch.cat(values.chunk(2), dim=1)
                seen.setdefault(name, []).append(bounded(values).numpy())
            for name, part in reward_features(agent, np.ascontiguousarray(obs[rows])).items():
                if wanted and name not in wanted:
                    continue
                seen.setdefault(name, []).append(bounded(torch.from_numpy(part)).numpy())
            advance(count)
    features = {name: np.concatenate(parts) for name, parts in seen.items()}
    for name, like in _MAY_BE_SAME:
        if name in features and like in features and np.array_equal(features[name], features[like]):
            left_out[name] = f"the same as {like}"
            del features[name]
    return features, left_out


@contextlib.contextmanager
def _outputs_of(module: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """What these parts of a module last gave in the block, by name; of several values the first, if it is a tensor."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                outputs[name] = first

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def bounded(values: Tensor) -> Tensor:
    """``[B, ...]`` -> ``[B, D]`` float32, D at most `MAX_NUMBERS`.

    Maps ``[B, C, h, w]`` that are larger are averaged over neighbouring places, other arrays over neighbours in their
    order.
    """
    values = values.float()
    size = values[0].numel()
    if size <= MAX_NUMBERS:
        return values.flatten(1)
    if values.dim() == 4 and values.shape[1] <= MAX_NUMBERS:
        side = max(1, math.isqrt(MAX_NUMBERS // values.shape[1]))
        return F.adaptive_avg_pool2d(values, (min(side, values.shape[2]), min(side, values.shape[3]))).flatten(1)
    return F.adaptive_avg_pool1d(values.flatten(1)[:, None], MAX_NUMBERS)[:, 0]


def pixel_features(obs: np.ndarray) -> np.ndarray:
    """The observations themselves ``[B, *obs_shape]`` -> ``[B, D]``, pictures averaged over neighbouring pixels."""
    parts = []
    for start in range(0, len(obs), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(obs[start : start + _CHUNK])).float()
        # Colours last, [.., H, W, 3]: before the places, so that places are averaged and colours are not.
        if part.dim() >= 4 and part.shape[-1] in (1, 3) and part.shape[-2] > 3:
            part = part.movedim(-1, 1).flatten(1, -3)
        elif part.dim() == 3:
            part = part[:, None]
        parts.append(bounded(part).numpy())
    return np.concatenate(parts)


def components(features: np.ndarray, train: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A layer's numbers, standardised; of more than `READ_WHOLE` their principal components, standardised.

    Numbers are standardised before components are taken too, or those of a small scale would be lost. Means, scales
    and directions are those of the training states. What hardly varies there (`_LEAST_SCALE`) is dropped: of a layer
    of low rank the last components are rounding errors.

    Args:
        features: ``[B, D]``.
        train: ``[B]`` bool.
        count: components at most.
        seed: of the randomised decomposition.

    Returns:
        ``[B, D']`` float32, D' at most ``count`` or `READ_WHOLE`, and at least 1.
    """
    features = _standardised(features, train)
    if features.shape[1] > max(count, READ_WHOLE):
        from sklearn.decomposition import PCA

        pca = PCA(min(count, int(train.sum()) - 1), svd_solver="randomized", random_state=seed).fit(features[train])
        features = _standardised(pca.transform(features), train)
    return features.astype(np.float32)


def _standardised(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Columns that vary in training states, with mean 0 and deviation 1 there; one of zeros if none does."""
    features = features.astype(np.float64)
    mean, std = features[train].mean(axis=0), features[train].std(axis=0)
    # A column that does not vary has a deviation of rounding errors, in proportion to its mean.
    varies = std > np.maximum(_LEAST_SCALE * std.max(), 1e-7 * np.abs(mean))
    if not varies.any():
        return np.zeros((len(features), 1))
    scaled: np.ndarray = (features[:, varies] - mean[varies]) / std[varies]
    return scaled
