"""What a run that starts from a checkpoint will be refused for, told before any of its processes is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints.content import ContentReader, has_content
from rllib_rnd.checkpoints.format import OWN_STATE
from rllib_rnd.checkpoints.restoring import (
    Saved,
    Shapes,
    changes,
    check_restorable,
    may_not_fit,
    plays_in_same,
    saved_in_state,
    settings_of,
)
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.makers import is_own, is_registered
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.environment_rows import saved_shapes
from rllib_rnd.training.footprint import undisturbed


def check_startable(folder: Path, config: IntrinsicPPOConfig) -> list[tuple[str, object, object]]:
    """Refuses a checkpoint that these settings cannot go on from, as far as that can be told here.

    An environment of the user's own is not made for that: what does not fit its spaces is refused as the algorithm is
    built.

    Args:
        folder: of the checkpoint.
        config: of the run that is to start from it.

    Returns:
        Settings that are not those of the checkpoint, as (path, its value, the value now); where it says them.

    Raises:
        ConfigError: naming the settings that differ and may not, or a file that cannot be read.
    """
    if not has_content(folder):  # of a former version
        return []
    reader = ContentReader(folder)
    state = reader.state()
    own = state.get(OWN_STATE)
    if own is None:
        return []
    saved, settings = saved_in_state(state, own), settings_of(config)
    shapes = saved.shapes
    if may_not_fit(saved, settings):
        shapes = _present_shapes(config, reader.built_with(), saved)
    check_restorable(saved, settings, shapes)
    return list(changes(saved, settings))


def _present_shapes(config: IntrinsicPPOConfig, built_with: Mapping[str, Any], saved: Saved) -> Shapes:
    """Of a module with these settings; those saved where it cannot be built here."""
    try:
        spaces = built_with["observation_space"], built_with["action_space"]
        if not plays_in_same(saved.settings, settings_of(config)):
            if not isinstance(config.env, str) or is_own(config.env) or is_registered(config.env):
                return saved.shapes
            env = make_vector_env(config.env, 1, dict(config.env_config), 1)
            spaces = env.single_observation_space, env.single_action_space
            env.close()
        with undisturbed():
            spec = config.get_rl_module_spec(spaces={"default_policy": spaces}, inference_only=False)
            return saved_shapes(spec.build())
    except ConfigError:
        raise
    except Exception:  # whatever the code of a user raises: its trial tells
        return saved.shapes
