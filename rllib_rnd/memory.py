"""Memory that a training takes, predicted before it starts: rollouts, learners, runners, against what the machine has.

Upper bounds: what is counted (arrays, networks, what autograd keeps) is exact, what is not (temporaries, processes) is
taken as large as it was ever seen (``python -m benchmarks.memory``). What environments hold besides their observations
is known of this package's own only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym

from rllib_rnd import machine
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import count_processes, frame_stack, make_vector_env
from rllib_rnd.envs.makers import env_name, is_own, is_registered
from rllib_rnd.errors import ConfigError
from rllib_rnd.machine import in_words
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rollout import CHUNK, Rollout, shapes_of
from rllib_rnd.threads import plan_threads
from rllib_rnd.training.footprint import Footprint, footprint, undisturbed
from rllib_rnd.training.work import CPU_MICRO_BATCH

_MIB = 2**20
# What a process has for itself before it learns or plays (Python, torch, RLlib), and the libraries that all share.
_PROCESS, _LIBRARIES = 350 * _MIB, 290 * _MIB
# Ray's own processes on a machine (205 MiB on two cores, of which 45 a process that waits); the command's with MLflow
# (430 MiB): besides the libraries that all share.
_RAY, _COMMAND = 300 * _MIB, 500 * _MIB
# A CUDA context with its libraries, on the GPU.
_CUDA = 600 * _MIB
# A pass needs what it keeps for its way back, and as much again for gradients and temporaries.
_WAY_BACK = 2
# Statistics are merged in pieces of 64 MiB; three are alive at a time.
_STATISTICS, _PIECES = 64 * _MIB, 3
# Float32 numbers per sample and stream while returns are calculated.
_RETURNS = 10
# An environment besides what it shows, by what its name has in it (Doom's engine is a process), and any other.
_ENVIRONMENTS = {"Doom": 80 * _MIB, "ALE/": 3 * _MIB // 2, "NoFrameskip": 3 * _MIB // 2}
_ENVIRONMENT = _MIB // 2
# A process that steps environments and does nothing else, besides those.
_STEPPING = 80 * _MIB
#: From this share of what there is on, it is said that memory is tight.
TIGHT = 0.75
#: Above this share it is refused: the prediction is an upper bound, up to so much above what is measured.
_SURELY = 1.25
# Ray's object store takes this share of the memory, by default.
_STORE_SHARE = 0.3


@dataclass(frozen=True)
class Part:
    """A number of bytes, and the setting that makes it smaller.

    Attributes:
        name: for people.
        bytes: of all processes of the kind together.
        setting: to reduce (or to raise, as ``num_minibatches``).
    """

    name: str
    bytes: int
    setting: str


@dataclass(frozen=True)
class Prediction:
    """What a training takes; bytes.

    Attributes:
        rollout: of one runner's rollout.
        object_store: what lies in Ray's object store at most, 0 where nothing goes through it.
        parts: what is in the machine's memory, the object store included.
        on_gpu: what is on each learner's GPU, nothing without one.
        main_process: of `parts`, what the process that leads the training has for itself, as ``RSS`` tells it.
        runner: of each remote runner's process, likewise; 0 without.
    """

    rollout: int
    object_store: int
    parts: tuple[Part, ...]
    on_gpu: tuple[Part, ...]
    main_process: int
    runner: int

    @property
    def total(self) -> int:
        """Of all processes on the machine, if all are on one."""
        return sum(part.bytes for part in self.parts)

    @property
    def gpu_total(self) -> int:
        """On each learner's GPU."""
        return sum(part.bytes for part in self.on_gpu)


def predict(
    config: IntrinsicPPOConfig, spaces: tuple[gym.Space, gym.Space], module: IntrinsicPPOModule | None = None
) -> Prediction:
    """What a training with these settings takes.

    Args:
        config: the settings.
        spaces: observations and actions of a single environment.
        module: a learner's, made with these settings, which is used up; None to build one.
    """
    with undisturbed():
        if module is None:
            spec = config.get_rl_module_spec(spaces={"default_policy": spaces}, inference_only=False)
            module = spec.build()
        stack = frame_stack(config.env, dict(config.env_config)).size
        networks = footprint(module, stack, config.freeze_backbone)
    return predicted(config, networks, rollout_bytes(config, module), _frame_elements(config, spaces))


def predicted(config: IntrinsicPPOConfig, networks: Footprint, rollout: int, frame_elements: int) -> Prediction:
    """The arithmetic of `predict`.

    Args:
        config: the settings.
        networks: counted.
        rollout: bytes of one runner's rollout.
        frame_elements: numbers in a frame.
    """
    runners, learners = config.num_env_runners, config.num_learners
    on_gpu = config.num_gpus_per_learner > 0
    all_rollouts = rollout * max(1, runners)
    learning = _learning(config, networks, frame_elements)
    if on_gpu or runners > 1 or learners > 1:  # else it is read where it lies
        learning.insert(0, Part("rollouts", math.ceil(all_rollouts / max(1, learners)), _ENVS))
    of_learner = sum(part.bytes for part in learning)
    in_store = 0
    if runners or learners:
        in_store = all_rollouts * (2 if config.overlap_sampling else 1) + 2 * networks.sent
    playing = _playing(config, networks, rollout)
    parts = [Part("Ray and the command", _RAY + _COMMAND, "num_env_runners")]
    main = 0 if runners else playing
    if not learners and not on_gpu:
        main += of_learner
        parts += learning
    else:
        parts += [Part(part.name, part.bytes * max(1, learners), part.setting) for part in learning if not on_gpu]
        processes = _PROCESS * learners + (_PROCESS if on_gpu else 0)
        parts.append(Part("learner processes", processes + networks.parameters * max(1, learners), "num_learners"))
        main += _PROCESS if on_gpu and not learners else 0
    if runners:
        parts.append(Part("runner processes", runners * (_PROCESS + playing), "num_env_runners"))
        main += networks.sent  # a runner stays in the main process, for the spaces
    else:
        parts.append(Part("playing", playing, _ENVS))
    if config.evaluation_interval:
        count = max(1, config.evaluation_num_env_runners)
        of_each = (_PROCESS if config.evaluation_num_env_runners else 0) + playing
        parts.append(Part("evaluation", count * of_each, "evaluation_num_env_runners"))
        main += 0 if config.evaluation_num_env_runners else playing
    parts.append(Part("main process", _PROCESS + _LIBRARIES, "num_env_runners"))
    parts.append(Part("object store", in_store, _ENVS))
    return Prediction(
        rollout,
        in_store,
        tuple(part for part in parts if part.bytes),
        (*learning, Part("CUDA", _CUDA, "num_gpus_per_learner")) if on_gpu else (),
        _PROCESS + _LIBRARIES + main + (0 if runners else all_rollouts if on_gpu else 0),
        _PROCESS + _LIBRARIES + playing if runners else 0,
    )


_ENVS = "num_envs_per_env_runner"


def _learning(config: IntrinsicPPOConfig, networks: Footprint, frame_elements: int) -> list[Part]:
    """What one learner has besides its rollouts."""
    samples = math.ceil(config.samples_per_iteration() / max(1, config.num_learners))
    minibatch = math.ceil(samples / config.minibatches_per_epoch())
    micro = config.micro_batch_size or (minibatch if config.num_gpus_per_learner else CPU_MICRO_BATCH)
    micro = min(max(micro, config.sequence_length()), max(minibatch, config.sequence_length()))
    moments = 1 if config.optimizer_type == "rmsprop" else 2
    streams = 1 + len(config.intrinsic_reward_specs())
    chunk = min(CHUNK, samples) * networks.plugins
    statistics = min(_STATISTICS, samples * frame_elements * 8) * _PIECES if streams > 1 else 0
    smaller = "num_minibatches" if config.minibatch_size is None else "minibatch_size"
    return [
        Part("networks, gradients, optimizer", networks.parameters + (1 + moments) * networks.trainable, "backbone"),
        Part("a pass of policy and critics", _WAY_BACK * micro * networks.policy, "micro_batch_size"),
        Part("losses of plug-ins", _WAY_BACK * minibatch * networks.plugins, smaller),
        Part("features, returns", samples * (2 * networks.features + 4 * _RETURNS * streams), _ENVS),
        Part("rewards and statistics", (chunk if streams > 1 else 0) + statistics, "intrinsic_reward"),
    ]


def _playing(config: IntrinsicPPOConfig, networks: Footprint, rollout: int) -> int:
    """What a process that plays has besides its libraries: environments, networks, one rollout, a pass over them."""
    envs = config.num_envs_per_env_runner
    name = env_name(config.env or "")
    each = next((size for part, size in _ENVIRONMENTS.items() if part in name), _ENVIRONMENT)
    stepping = count_processes(config.env, envs, dict(config.env_config), plan_threads(config).runner) * _STEPPING
    return rollout + networks.sent + envs * (each + networks.policy) + stepping


def rollout_bytes(config: IntrinsicPPOConfig, module: IntrinsicPPOModule) -> int:
    """Bytes of one runner's rollout."""
    stack = frame_stack(config.env, dict(config.env_config)).size
    of_one_environment = Rollout.empty(
        config.get_rollout_fragment_length(),
        1,
        **shapes_of(module.observation_space, module.action_space, stack),
        num_streams=1 + len(config.intrinsic_reward_specs()),
        memory_size=module.backbone.state_size,
        sequence_length=module.backbone.max_seq_len,
    ).num_bytes
    return of_one_environment * config.num_envs_per_env_runner


def _frame_elements(config: IntrinsicPPOConfig, spaces: tuple[gym.Space, gym.Space]) -> int:
    shape = shapes_of(*spaces, frame_stack(config.env, dict(config.env_config)).size)["frame_shape"]
    return math.prod(shape)


# --- against the machine ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """What a machine has, in bytes; None where that is not known.

    Attributes:
        memory: that processes may use.
        shared: of the file system of Ray's object store.
        gpu: of the smallest GPU.
    """

    memory: int | None
    shared: int | None
    gpu: int | None

    @property
    def store(self) -> int | None:
        """What Ray gives its object store by default."""
        known = [_STORE_SHARE * self.memory] if self.memory is not None else []
        known += [0.95 * self.shared] if self.shared is not None else []
        return int(min(known)) if known else None

    @staticmethod
    def here() -> Room:
        """Of this machine."""
        shared, gpus = machine.shared_memory(), machine.gpus()
        gpu = min((gpu.memory for gpu in gpus), default=None)
        return Room(machine.memory_limit(), shared[0] if shared else None, gpu)


@dataclass(frozen=True)
class _Place:
    name: str
    needed: int
    there: int | None
    parts: tuple[Part, ...]
    limit: float

    @property
    def fits_not(self) -> bool:
        return self.there is not None and self.needed > self.limit * self.there

    @property
    def is_tight(self) -> bool:
        return self.there is not None and self.needed > TIGHT * self.there and not self.fits_not


def _places(need: Prediction, room: Room) -> list[_Place]:
    store = (Part("rollouts in it", need.object_store, _ENVS),)
    return [
        _Place("memory", need.total, room.memory, need.parts, _SURELY),
        _Place("Ray's object store", need.object_store, room.store, store, 1.0),
        _Place("GPU", need.gpu_total, room.gpu, need.on_gpu, _SURELY),
    ]


def refusal(need: Prediction, room: Room) -> ConfigError | None:
    """The error for what cannot fit, at the setting that makes its largest part; None if all fits."""
    for place in _places(need, room):
        if place.there is not None and place.fits_not:
            largest = max(place.parts, key=lambda part: part.bytes)
            verb = "raise it" if largest.setting == "num_minibatches" else "reduce it"
            return ConfigError(
                largest.setting,
                f"training would take {in_words(place.needed)} of {place.name}, of which there are "
                f"{in_words(place.there)}; most of it is {largest.name} ({in_words(largest.bytes)}): {verb}",
            )
    return None


def warnings(need: Prediction, room: Room) -> list[str]:
    """What will be tight, a line each."""
    return [
        f"tight: up to {in_words(place.needed)} of {place.name} are needed, {in_words(place.there)} are there"
        for place in _places(need, room)
        if place.there is not None and place.is_tight
    ]


def check_fits(config: IntrinsicPPOConfig, room: Callable[[], Room] = Room.here) -> list[str]:
    """Refuses a training that cannot fit on this machine, as far as that can be told before anything is started.

    A user's own environment is not made for that (it may take its time, or count how often it is made); nor is anything
    said here of mistakes that building the algorithm will tell of.

    Returns:
        What will be tight, a line each.

    Raises:
        ConfigError: it cannot.
    """
    name = config.env
    if not isinstance(name, str) or is_own(name) or is_registered(name):
        return []
    here = room()
    try:
        env = make_vector_env(name, 1, dict(config.env_config), 1)
        spaces = env.single_observation_space, env.single_action_space
        env.close()
        need = predict(config, spaces) if _may_be_large(config, spaces, here) else None
    except Exception:
        return []
    if need is None:
        return []
    error = refusal(need, here)
    if error is not None:
        raise error
    return warnings(need, here)


def _may_be_large(config: IntrinsicPPOConfig, spaces: tuple[gym.Space, gym.Space], room: Room) -> bool:
    """Whether it is worth a second to count: with a hundred floats of each observation's it might come near a limit."""
    if room.memory is None or config.num_gpus_per_learner:
        return True
    size = 400 * math.prod(spaces[0].shape or (1,)) * min(config.samples_per_iteration(), 4 * CPU_MICRO_BATCH)
    size += 8 * math.prod(spaces[0].shape or (1,)) * config.samples_per_iteration()
    size += (config.num_env_runners + config.num_learners + 4) * (_PROCESS + _LIBRARIES)
    return size > room.memory / 4
