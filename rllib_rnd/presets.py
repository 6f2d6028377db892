"""Presets: IntrinsicPPO with other defaults, and nothing else. Importing this registers the names with Ray Tune."""

from __future__ import annotations

from ray.rllib.utils.annotations import override
from ray.tune import register_trainable

from rllib_rnd.algorithm import IntrinsicPPO
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.ray_logs import drop_noise
from rllib_rnd.settings import SETTINGS, table


class RNDConfig(IntrinsicPPOConfig):
    """IntrinsicPPO with Random Network Distillation (Burda et al. 2018, arXiv 1810.12894)."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or RND)
        self.intrinsic_reward = {"type": "rnd"}
        self.warmup_steps = 6400


class RND(IntrinsicPPO):
    """Preset: IntrinsicPPO whose intrinsic reward is RND."""

    @classmethod
    @override(IntrinsicPPO)
    def get_default_config(cls) -> RNDConfig:
        """The defaults."""
        return RNDConfig()


class SNDConfig(IntrinsicPPOConfig):
    """IntrinsicPPO with Self-supervised Network Distillation, SND-V (Pecháč et al. 2023, arXiv 2302.11563).

    PPO as published there: extrinsic discount 0.998, minibatches of 512 samples, gradients clipped at 0.5.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SND)
        self.intrinsic_reward = {"type": "snd_v"}
        self.gamma = 0.998
        self.minibatch_size = 512
        self.grad_clip = 0.5


class SND(IntrinsicPPO):
    """Preset: IntrinsicPPO whose intrinsic reward is SND-V."""

    @classmethod
    @override(IntrinsicPPO)
    def get_default_config(cls) -> SNDConfig:
        """The defaults."""
        return SNDConfig()


#: What ``run`` may name besides RLlib's own algorithms.
ALGORITHMS: dict[str, type[IntrinsicPPO]] = {cls.__name__: cls for cls in (IntrinsicPPO, RND, SND)}

drop_noise()
for _name, _algorithm in ALGORITHMS.items():
    register_trainable(_name, _algorithm)


def settings_table() -> list[tuple[str, str, str, str]]:
    """Key, default (and where a preset differs), what is allowed and meaning of every setting, as text."""
    plain = vars(IntrinsicPPOConfig())
    differing = {}
    for name, algorithm in ALGORITHMS.items():
        own = vars(algorithm.get_default_config())
        differing[name] = {key: own[key] for key in SETTINGS if own[key] != plain[key]}
    return table(differing, plain)
