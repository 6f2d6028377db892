"""What is in the folder of a checkpoint of the current format, written and read.

| file | what |
|---|---|
| ``manifest.json`` | see `manifest`; written last |
| ``config.json`` | the settings, by the names of experiment files |
| ``module.json``, ``module.safetensors`` | how the networks are built; their tensors by name |
| ``learner.json``, ``.safetensors`` | optimizer, generators, counters |
| ``algorithm.json``, ``.safetensors`` | metrics, iteration, episodes, places, where play stands |
| ``python_objects.pkl`` | what of all this is no plain data; mostly it is not there |
| ``class_and_ctor_args.pkl``, ``algorithm_state.pkl``, ``rllib_checkpoint.json`` | for RLlib's own loader |

Pickles are read where they are needed only: the first where plain data names something in it, the second where settings
hold Python objects. The third is empty: RLlib wants a file of that name.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from ray import cloudpickle
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.checkpoints import CHECKPOINT_VERSION_LEARNER_AND_ENV_RUNNER
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rllib_rnd.checkpoints.format import STATE_FILE
from rllib_rnd.checkpoints.tree import Decoder, Encoder, Json
from rllib_rnd.envs.space_json import space_from_json, space_to_json
from rllib_rnd.errors import ConfigError, same
from rllib_rnd.own_code import import_name, import_path
from rllib_rnd.rllib_settings import REFUSED
from rllib_rnd.settings import PUBLIC_NAMES, SETTINGS, attribute_name

T = TypeVar("T")

CONFIG, MODULE, LEARNER, ALGORITHM = "config", "module", "learner", "algorithm"
OBJECTS = "python_objects.pkl"
#: RLlib's: the class and its configuration, pickled.
CONSTRUCTOR = "class_and_ctor_args.pkl"

_MODULE_ID = "default_policy"
# What damaged files raise where they are taken apart.
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError)


def has_content(folder: Path) -> bool:
    """Whether a checkpoint is laid out like this."""
    return (folder / f"{ALGORITHM}.json").is_file()


class ContentWriter:
    """Writes the files of a checkpoint, but its manifest, into an empty folder.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[str, object] = {}

    def write(
        self, state: Mapping[str, Any], config: AlgorithmConfig, module: type, built_with: Mapping[str, Any]
    ) -> None:
        """Writes everything.

        Args:
            state: as of ``Algorithm.get_state()``, or parts of it.
            config: the algorithm's.
            module: class of the RLModule.
            built_with: what it was constructed with, by name.

        Raises:
            OSError: the disk does not take it.
        """
        rest, learner, tensors = _divided(state)
        self._write(ALGORITHM, rest)
        if learner is not None:
            self._write(LEARNER, learner)
        if tensors is not None:
            arguments = {name: _space_as_json(value) for name, value in built_with.items()}
            self._write(MODULE, tensors, {"class": _class_as_json(module), "built_with": arguments})
        self._write_json(CONFIG, config_as_json(config))
        if self._objects:
            pickled = {place: cloudpickle.dumps(value) for place, value in self._objects.items()}
            (self._folder / OBJECTS).write_bytes(pickle.dumps(pickled))

    def _write(self, name: str, tree: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> None:
        """A tree as one file of JSON, and one of arrays if it has any; what is not plain is put aside."""
        encoder = Encoder()
        # Tensors of the module have their own names; those of `more` stand behind a name that no module has.
        content = {key: encoder.encode(value, f"/{key}") for key, value in (more or {}).items()}
        state = {key: encoder.encode(value, key) for key, value in tree.items()}
        self._write_json(name, {**content, "state": state})
        if encoder.arrays:
            path = self._folder / f"{name}.safetensors"
            with _disk_errors():
                save_file(encoder.arrays, path)
            shutil.copymode(path.with_suffix(".json"), path)  # made for its owner alone
        self._objects |= {f"{name}:{place}": value for place, value in encoder.objects.items()}

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, allow_nan=False, indent=1 if name == CONFIG else None)
        (self._folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """What a disk refuses is an ``OSError``, as of any other file; safetensors has an error of its own for it."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def write_for_rllib(folder: Path, algorithm: Algorithm) -> None:
    """Writes what RLlib's own ``Algorithm.from_checkpoint`` asks for, which then calls ours to restore."""
    metadata = {**algorithm.get_metadata(), "checkpoint_version": str(CHECKPOINT_VERSION_LEARNER_AND_ENV_RUNNER)}
    (folder / algorithm.METADATA_FILE_NAME).write_text(json.dumps(metadata), encoding="utf-8")
    constructor = {"class": type(algorithm), "ctor_args_and_kwargs": algorithm.get_ctor_args_and_kwargs()}
    (folder / CONSTRUCTOR).write_bytes(cloudpickle.dumps(constructor))
    (folder / STATE_FILE).write_bytes(pickle.dumps({}))


def _divided(
    state: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
    """An algorithm's state without its learner's, the learner's without the module's, the module's tensors."""
    rest, group = dict(state), state.get("learner_group")
    if not isinstance(group, Mapping) or "learner" not in group:
        return rest, None, None
    learner = dict(group["learner"])
    rest["learner_group"] = {name: part for name, part in group.items() if name != "learner"}
    modules = learner.get("rl_module")
    if not isinstance(modules, Mapping) or _MODULE_ID not in modules:
        return rest, learner, None
    learner["rl_module"] = {name: part for name, part in modules.items() if name != _MODULE_ID}
    return rest, learner, dict(modules[_MODULE_ID])


def _space_as_json(value: object) -> object:
    """A space as JSON says it; what it cannot say, and what is no space, as it is."""
    if not isinstance(value, gym.Space):
        return value
    try:
        return {"space": space_to_json(value)}
    except ConfigError:
        return value


def _class_as_json(found: type) -> object:
    """A class by its import path; itself, to be pickled, if it has none that any process could import."""
    return import_name(found) or found


class ContentReader:
    """Reads the files that `ContentWriter` wrote. No code of the checkpoint runs but what `python_objects` are made of.

    Args:
        folder: of the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pickled: dict[str, bytes] | None = None

    def state(self) -> dict[str, Any]:
        """The state that was written, as of ``Algorithm.get_state()``.

        Raises:
            ConfigError: a file cannot be read.
        """
        state = self.algorithm()
        if (self._folder / f"{LEARNER}.json").is_file():
            learner = self._state(LEARNER)
            if (self._folder / f"{MODULE}.json").is_file():
                learner.setdefault("rl_module", {})[_MODULE_ID] = self._state(MODULE)
            state.setdefault("learner_group", {})["learner"] = learner
        return state

    def algorithm(self) -> dict[str, Any]:
        """The state without the learner's.

        Raises:
            ConfigError: a file cannot be read.
        """
        return self._state(ALGORITHM)

    def module(self) -> RLModule:
        """The networks, built and with their tensors.

        Raises:
            ConfigError: there are none, or a file or their class cannot be read.
        """
        built_with = self.built_with()
        module = _class_from_json(self._read(MODULE, "class"), RLModule, self._folder)(**built_with)
        module.set_state(self._state(MODULE))
        return module

    def built_with(self) -> dict[str, Any]:
        """What the networks were constructed with, by name: spaces, options.

        Raises:
            ConfigError: there are none, or a file cannot be read.
        """
        if not (self._folder / f"{MODULE}.json").is_file():
            raise ConfigError(f"checkpoint {self._folder}", f"holds no single-agent module ({_MODULE_ID})")
        return {name: _space_from_json(value) for name, value in self._state(MODULE, "built_with").items()}

    def _state(self, name: str, part: str = "state") -> dict[str, Any]:
        found = self._read(name, part)
        if not isinstance(found, dict):
            raise ConfigError(f"checkpoint {self._folder}", f"its {name}.json holds no {part}")
        return found

    def _read(self, name: str, part: str) -> object:
        with self._reading(f"{name}.json"):
            content: dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        with self._arrays(name) as array, self._reading(f"{name}.json"):
            decoder = Decoder(array, lambda place: self._object(f"{name}:{place}"))
            found = content[part]
            if part != "state":
                return decoder.decode(found)
            return {key: decoder.decode(value) for key, value in found.items()}

    @contextlib.contextmanager
    def _arrays(self, name: str) -> Iterator[Any]:
        path = self._folder / f"{name}.safetensors"
        if not path.is_file():
            yield _nothing
            return
        with self._reading(path.name), safe_open(path, framework="numpy") as file:
            yield file.get_tensor

    def _object(self, place: str) -> object:
        with self._reading(OBJECTS):
            if self._pickled is None:
                self._pickled = pickle.loads((self._folder / OBJECTS).read_bytes())
            pickled = self._pickled[place]
        try:
            return cloudpickle.loads(pickled)
        except Exception as error:  # whatever the code of a user raises
            problem = f"{place!r} of its {OBJECTS} cannot be read ({error})"
            raise ConfigError(f"checkpoint {self._folder}", problem) from error

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except (*_BROKEN, OSError, pickle.UnpicklingError, SafetensorError) as error:
            raise ConfigError(f"checkpoint {self._folder}", f"its {name} cannot be read ({error!r})") from error


def _nothing(name: str) -> np.ndarray:
    raise KeyError(name)


def _space_from_json(value: object) -> object:
    return space_from_json(value["space"]) if isinstance(value, dict) and set(value) == {"space"} else value


def _class_from_json(found: object, base: type[T], folder: Path) -> type[T]:
    """A class by its import path.

    Raises:
        ConfigError: it does not import, or is none of the base's.
    """
    made = import_path(found, f"checkpoint {folder}") if isinstance(found, str) else found
    if not (isinstance(made, type) and issubclass(made, base)):
        raise ConfigError(f"checkpoint {folder}", f"{found!r} is no {base.__name__}")
    return made


# --- settings -------------------------------------------------------------------------------------------------------

# Of Tune's trial, not of the algorithm.
_OF_TUNE = ("__stdout_file__", "__stderr_file__")


def config_as_json(config: AlgorithmConfig) -> dict[str, Json]:
    """The settings: all of this package's table, and of RLlib's others those that are not at their default.

    Those that hold Python objects or arrays are named under ``python``: they are in `CONSTRUCTOR` alone.
    """
    own, default = config.get_state(), type(config)().get_state()
    differing = {name for name, value in own.items() if name not in default or not same(value, default[name])}
    settings: dict[str, Json] = {}
    python: list[Json] = []
    for name in sorted(({*SETTINGS} & set(own)) | differing - {"class", *_OF_TUNE, *REFUSED}):
        encoder = Encoder()
        encoded = encoder.encode(own[name], name)
        if encoder.arrays or encoder.objects:
            python.append(PUBLIC_NAMES.get(name, name))
        else:
            settings[PUBLIC_NAMES.get(name, name)] = encoded
    algorithm = None if config.algo_class is None else import_name(config.algo_class)
    kind = import_name(type(config))
    return {"algorithm": algorithm, "config": kind, "settings": settings, "python": python}


def config_from_json(folder: Path) -> AlgorithmConfig | None:
    """The configuration that `config_as_json` wrote down; None if it holds Python objects.

    Raises:
        ConfigError: the file cannot be read, or names what is not installed here.
    """
    try:
        content = json.loads((folder / f"{CONFIG}.json").read_text(encoding="utf-8"))
        if content["python"] or content["config"] is None or content["algorithm"] is None:
            return None
        decoder = Decoder(_nothing, _nothing)
        settings = {attribute_name(name): decoder.decode(value) for name, value in content["settings"].items()}
    except (*_BROKEN, OSError) as error:
        raise ConfigError(f"checkpoint {folder}", f"its {CONFIG}.json cannot be read ({error!r})") from error
    config: AlgorithmConfig = _class_from_json(content["config"], AlgorithmConfig, folder)()
    config.algo_class = _class_from_json(content["algorithm"], Algorithm, folder)
    config.__dict__.update(settings)  # as they were, without what setters do besides
    return config
