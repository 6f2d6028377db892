"""Features seen from above: those of the policy and of the intrinsic rewards brought into the plane, coloured by what
was going on; and beside them how many directions they use.

What it shows: which observations a network finds alike, and whether its features vary along many directions or few.
What it cannot show: distances. A plane keeps a part of the variance (PCA) or the neighbours (t-SNE), never both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.extras import import_extra
from rllib_rnd.analysis.figures.projection_charts import Chart, Plane, projection_chart, spread_chart
from rllib_rnd.analysis.one_step import one_step
from rllib_rnd.analysis.pixels import frame_stack, newest_first
from rllib_rnd.analysis.replay import replay
from rllib_rnd.analysis.states import States, chunks, network_inputs
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.own_code import failures_of
from rllib_rnd.rollout import CHUNK

#: Points of a picture at most: openTSNE takes a minute and a half for 3,000.
MAX_POINTS = 1_500
PROJECTIONS = {"pca": "PCA", "tsne": "t-SNE"}

Method = Literal["pca", "tsne"]

# t-SNE sees this many principal components (van der Maaten & Hinton 2008, section 4: 30; openTSNE's guide: 50).
_TSNE_INPUTS, _PERPLEXITY = 50, 30.0


@dataclass(frozen=True)
class Points:
    """B observations of episodes and what came of them.

    Attributes:
        states: the observations.
        return_to_go: ``[B]`` sum of the extrinsic rewards from here to the end of the tape, not discounted.
        value: ``[B, S]`` as it was when they were played.
    """

    states: States
    return_to_go: np.ndarray
    value: np.ndarray


# --- which observations ------------------------------------------------------------------------------------------


def draw_evenly(groups: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draws samples so that every group has its share, evenly over time.

    No group has fewer than another unless all of it is drawn, but for one where the limit cannot be shared evenly; of
    more groups than the limit, those give a sample that lie evenly among all (in order of their numbers). A group's
    samples, in order of time, are cut into as many pieces of equal length as it may give samples; each piece gives one.

    Args:
        groups: ``[B]``, of samples in order of time.
        limit: samples that are drawn at most.
        seed: of the draws.

    Returns:
        Indices in order.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    members = np.split(order, starts[1:]) if len(starts) else []
    if len(members) > limit:
        members = [members[i] for i in ((np.arange(limit) + 0.5) / max(limit, 1) * len(members)).astype(int)]
    chosen, left = [], limit
    # Small groups first: what they leave of their share goes to the others.
    for i, own in enumerate(sorted(members, key=len)):
        count = min(len(own), left // (len(members) - i))
        left -= count
        edges = np.linspace(0, len(own), count + 1)
        first, last = np.ceil(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
        chosen.append(own[generator.integers(first, last)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=int)


def points_of(tapes: Sequence[Tape], seed: int, limit: int = MAX_POINTS) -> Points:
    """Draws observations of episodes evenly over rooms and time.

    Args:
        tapes: the episodes.
        seed: of the draws.
        limit: points at most.

    Raises:
        ConfigError: nothing was played.
    """
    played = [(episode, tape, np.flatnonzero(tape.valid)) for episode, tape in enumerate(tapes) if tape.valid.any()]
    if not played:
        raise ConfigError("projection", "no agent step was played, so there are no features to project", "episodes")
    rooms = [-1 if room is None else room for _, tape, valid in played for room in (tape.rooms[t] for t in valid)]
    drawn = draw_evenly(np.array(rooms), limit, seed)
    # Drawn first and gathered then: all observations of a few long episodes are gigabytes.
    ends = np.cumsum([len(valid) for _, _, valid in played])
    states, return_to_go, value = [], [], []
    for (episode, tape, valid), end in zip(played, ends, strict=True):
        steps = valid[drawn[(drawn >= end - len(valid)) & (drawn < end)] - (end - len(valid))]
        states.append(States.of_tape(tape, episode, steps))
        return_to_go.append(np.cumsum(np.array(tape.reward, dtype=np.float64)[::-1])[::-1][steps])
        value.append(np.stack(tape.value)[steps])
    return Points(States.join(states), np.concatenate(return_to_go), np.concatenate(value))


# --- their features ----------------------------------------------------------------------------------------------


@torch.no_grad()
def policy_features(agent: Agent, states: States) -> np.ndarray:
    """What the policy's head reads, ``[B, D]``."""
    backbone, parts = agent.module.backbone, []
    for _, part in chunks(states, CHUNK):
        features = backbone(*network_inputs(agent, part.obs, part.memory, part.is_first))
        parts.append(features.policy.flatten(1).numpy())
    return np.concatenate(parts)


@torch.no_grad()
def reward_features(agent: Agent, obs: np.ndarray) -> dict[str, np.ndarray]:
    """What the intrinsic rewards make of observations, each as if the agent stood still before it.

    Args:
        agent: with the rewards; what they remember and count stays as it is.
        obs: ``[B, *obs_shape]`` raw.

    Returns:
        ``[B, D]`` by name, "rnd target" and "rnd predictor" for example; nothing of rewards without features.

    Raises:
        ConfigError: a reward fails.
    """
    features: dict[str, np.ndarray] = {}
    space = agent.module.action_space
    still = np.zeros((len(obs), *(space.shape or ())), space.dtype)
    rollout = one_step(obs, still, obs, frame_stack(agent), newest_first(agent))
    for name, reward in zip(agent.reward_names, agent.module.rewards(), strict=True):
        twin = copy.deepcopy(reward)
        outputs: list[Tensor] = []
        predictor = getattr(twin, "predictor", None)
        if isinstance(predictor, nn.Module):
            predictor.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))  # noqa: B023
        with failures_of(reward, "compute"):
            kept = twin.compute(rollout)[1]
        if outputs and all(isinstance(output, Tensor) for output in outputs):
            kept = {**kept, "predictor": torch.cat(outputs)}
        for key, values in kept.items():
            if values.is_floating_point() and values.dim() >= 2 and len(values) == len(obs):
                features[f"{name} {key}"] = values.flatten(1).numpy()
    return features


# --- into the plane ----------------------------------------------------------------------------------------------


def project(features: np.ndarray, seed: int, method: Method = "pca") -> Plane:
    """Brings features into the plane; the same features and seed give the same plane.

    Args:
        features: ``[B, D]``.
        seed: of t-SNE's neighbours.
        method: ``pca`` or ``tsne`` (Poličar et al. 2019's openTSNE, begun with the principal components).

    Raises:
        ConfigError: unknown method, or openTSNE is not installed.
    """
    check_projection(method)
    if method == "pca":
        points, shares = principal_components(features, 2)
        return Plane(points, (float(shares[0]), float(shares[1])))
    from openTSNE import TSNE

    inputs, _ = principal_components(features, min(_TSNE_INPUTS, features.shape[1]))
    if len(inputs) < 8 or not inputs.any():  # too few to have neighbours, or all alike
        return Plane(inputs[:, :2])
    perplexity = min(_PERPLEXITY, (len(inputs) - 1) / 3)
    # Exact neighbours: those of the approximate search are not the same on every machine.
    embedding = TSNE(perplexity=perplexity, neighbors="exact", random_state=seed, n_jobs=1).fit(inputs)
    return Plane(np.asarray(embedding, dtype=np.float64))


def check_projection(method: str, path: str = "method") -> None:
    """Refuses a method that is unknown, or whose package is not installed.

    Args:
        method: its name.
        path: of the option, for messages.

    Raises:
        ConfigError: it is one of these.
    """
    if method not in PROJECTIONS:
        raise unknown_name_error("projection", method, PROJECTIONS, path)
    if method == "tsne":
        import_extra("openTSNE", "projections by t-SNE", "insight", path)


def principal_components(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Features along their principal components; each points to where its largest loading is positive.

    Args:
        features: ``[B, D]``.
        count: of components; those beyond what there can be are 0.

    Returns:
        ``[B, count]``, and the share of the variance along each, ``[count]``.
    """
    from sklearn.decomposition import PCA

    features = np.asarray(features, dtype=np.float64)
    points, shares = np.zeros((len(features), count)), np.zeros(count)
    if not np.ptp(features, axis=0).any():  # nothing varies, and shares of nothing are not numbers
        return points, shares
    found = min(count, *features.shape)
    pca = PCA(found, svd_solver="full").fit(features)
    loadings = pca.components_
    signs = np.sign(loadings[np.arange(found), np.abs(loadings).argmax(axis=1)])
    points[:, :found], shares[:found] = pca.transform(features) * signs, pca.explained_variance_ratio_
    return points, shares


# --- together ----------------------------------------------------------------------------------------------------


def projections(
    agent: Agent, tapes: Sequence[Tape], seed: int, method: Method = "pca", baseline: Agent | None = None
) -> list[Chart]:
    """One picture for the policy's features and each of the rewards', and one of all features' spread.

    Args:
        agent: whose features.
        tapes: episodes, by whomever they were played.
        seed: of the points drawn and of t-SNE.
        method: see `project`.
        baseline: another agent, whose features of the same observations stand in the picture of the spread too (RND
            against SND), if it reads such observations.

    Raises:
        ConfigError: nothing was played, unknown method, or openTSNE is not installed.
    """
    points = points_of(tapes, seed)
    features = {"policy": policy_features(agent, points.states), **reward_features(agent, points.states.obs)}
    colours = colours_of(points, agent.reward_names)
    charts = [
        projection_chart(name, values, project(values, seed, method), colours, PROJECTIONS[method])
        for name, values in features.items()
    ]
    untrained = agent.untrained(seed)
    features["policy, untrained"] = policy_features(untrained, _seen_by(untrained, tapes, seed, points.states))
    space = agent.module.observation_space
    if baseline is not None and baseline.module.observation_space == space:
        own = _seen_by(baseline, tapes, seed, points.states)
        others = {"policy": policy_features(baseline, own), **reward_features(baseline, own.obs)}
        features |= {f"baseline: {name}": values for name, values in others.items()}
    return [*charts, spread_chart(features)]


def _seen_by(agent: Agent, tapes: Sequence[Tape], seed: int, states: States) -> States:
    """The same draws with this agent's own memory, if it has one: ``states`` hold that of who played."""
    if not agent.module.backbone.state_size:
        return states
    return points_of([replay(agent, tape) for tape in tapes], seed).states


def colours_of(points: Points, reward_names: Sequence[str]) -> dict[str, np.ndarray]:
    """What points are coloured by, ``[B]`` each: room (where it is known), time, return-to-go, each value."""
    colours = {"room": points.states.room} if (points.states.room >= 0).any() else {}
    names = ["extrinsic value", *(f"intrinsic value: {name}" for name in reward_names)]
    values = dict(zip(names, points.value.T, strict=True))
    return {**colours, "time (agent step)": points.states.step, "return-to-go": points.return_to_go, **values}
