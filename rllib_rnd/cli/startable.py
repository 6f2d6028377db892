"""What a run that starts from a checkpoint will be refused for, told before any of its processes is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints.content import ContentReader, has_content
from rllib_rnd.checkpoints.format import OWN_STATE
from rllib_rnd.checkpoints.restoring import Shapes, check_restorable, may_not_fit, saved_in_state, settings_of
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.environment_rows import saved_shapes
from rllib_rnd.training.footprint import undisturbed


def check_startable(folder: Path, config: IntrinsicPPOConfig) -> None:
    """Refuses a checkpoint that these settings cannot go on from, as far as that can be told without an environment.

    Where the environment is another one, its spaces are not known here: what does not fit them is refused as the
    algorithm is built.

    Args:
        folder: of the checkpoint.
        config: of the run that is to start from it.

    Raises:
        ConfigError: naming the settings that differ and may not, or a file that cannot be read.
    """
    if not has_content(folder):  # of a former version
        return
    reader = ContentReader(folder)
    state = reader.state()
    own = state.get(OWN_STATE)
    if own is None:
        return
    saved, settings = saved_in_state(state, own), settings_of(config)
    shapes = saved.shapes
    if may_not_fit(saved, settings):
        shapes = _present_shapes(config, reader.built_with(), saved.shapes)
    check_restorable(saved, settings, shapes)


def _present_shapes(config: IntrinsicPPOConfig, built_with: Mapping[str, Any], unknown: Shapes) -> Shapes:
    spaces = built_with["observation_space"], built_with["action_space"]
    try:
        with undisturbed():
            spec = config.get_rl_module_spec(spaces={"default_policy": spaces}, inference_only=False)
            return saved_shapes(spec.build())
    except ConfigError:
        raise
    except Exception:  # whatever the code of a user raises: its trial tells
        return unknown
