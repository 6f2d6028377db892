"""Atari 2600 as sparse-reward papers use it, on the Arcade Learning Environment (Machado et al. 2018).

One environment, one class, no chain of wrappers: sticky actions at the level of raw frames, a skip with the
maximum of its last two frames, grey frames of one size, a stack, a cap on frames that truncates, raw rewards,
and the room the player is in where the game's memory tells it. Defaults: Burda et al. 2018, "Exploration by
Random Network Distillation", and its published code.
"""

from __future__ import annotations

import copy
import functools
import re
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from rllib_rnd.envs.atari_native import atari_backend, make_native_atari
from rllib_rnd.envs.atari_options import (
    FLICKER_STREAM,
    ROOM_BYTES,
    AtariOptions,
    action_names,
    atari_games,
    import_ale,
    parse_atari_options,
    room_of,
)
from rllib_rnd.envs.family import (
    EnvironmentFamily,
    FrameStack,
    Wanted,
    check_render_mode,
    check_saved_stack,
    frame_resizer,
)
from rllib_rnd.envs.info import EPISODE_FRAME_NUMBER, GAME_GOES_ON, LIVES, ROOM
from rllib_rnd.envs.processes import ProcessVectorEnv
from rllib_rnd.errors import at, unknown_name_error

if TYPE_CHECKING:
    from ale_py import ALEInterface

_FIRE = 1  # the joystick action
# From so many games on they are dealt over processes, one per core: ale-py holds Python's lock while it plays.
_WORTH_PROCESSES = 8
_ID = re.compile(r"(?:ALE/(\w+)-v5|(\w+)NoFrameskip-v4)\Z")


class AtariEnv(gym.Env):
    """One game.

    Observation ``[K, H, W]`` uint8, grey, newest frame last (colour: ``[K, H, W, 3]``); after a reset all K are the
    reset frame. Reward: the game's own points, summed over the skipped frames. ``info``: ``lives``,
    ``episode_frame_number`` (raw frames since the game began), ``room`` for the games in `ROOM_BYTES`, and, where
    lost lives end episodes, ``game_goes_on``: the end of this episode is not that of the game.

    Sticky actions are drawn here and not by the emulator: its own draw repeats an action that a saved
    emulator state does not contain, so a run resumed in the middle of an episode could differ from the run it
    continues.

    Args:
        game: name as in the gymnasium id, for example "MontezumaRevenge".
        options: see `AtariOptions`.
        render_mode: None or "rgb_array" (``[210, 160, 3]`` uint8).

    Raises:
        ConfigError: unknown game or render mode, or ale-py is missing.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 60}  # noqa: RUF012 - as gymnasium
    #: A seeded reset leaves no trace of what was played before, and consoles are dear.
    reusable = True

    def __init__(self, game: str, options: AtariOptions | None = None, render_mode: str | None = None) -> None:
        if game not in atari_games():
            raise unknown_name_error("Atari game", game, atari_games())
        check_render_mode(render_mode, self)
        ale_py = import_ale()
        self.game, self.options, self.render_mode = game, options or AtariOptions(), render_mode
        self.metadata = {**self.metadata, "render_fps": 60 // self.options.frame_skip or 1}
        self._rom = atari_games()[game]
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("max_num_frames_per_episode", 0)
        # The console's own seed is fixed: without sticky actions it draws nothing. Loading takes 0.1 s, nearly all of
        # it for palettes; going back to what has been loaded takes none.
        self.ale.setInt("random_seed", 0)
        self.ale.loadROM(ale_py.roms.get_rom_path(self._rom))
        self._loaded, self._just_loaded = self.ale.cloneState(include_rng=True), True
        self._actions = joystick_actions(self.ale, self.options)

        size, k = self.options.frame_size, self.options.frame_stack
        colors = () if self.options.grayscale else (3,)
        self.observation_space = spaces.Box(0, 255, (k, size, size, *colors), np.uint8)
        self.action_space = spaces.Discrete(len(self._actions))
        self._grab = self.ale.getScreenGrayscale if self.options.grayscale else self.ale.getScreenRGB
        self._resize = frame_resizer(size, self.options.interpolation)
        self._screens = np.zeros((2, *self.ale.getScreenDims(), *colors), dtype=np.uint8)
        self._stack = np.zeros((k, size, size, *colors), dtype=np.uint8)  # newest last
        self._flicker_random = np.random.default_rng()
        self._ram = np.zeros(self.ale.getRAMSize(), dtype=np.uint8)
        self._executed = 0  # the joystick action of the previous raw frame
        self._frames = 0  # raw frames since the game began
        self._lives = 0
        self._lost_life_only = False  # the last episode ended by a lost life: the game itself goes on
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. Without a seed the random stream goes on; with one, the run is repeatable."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._flicker_random = np.random.default_rng([seed, FLICKER_STREAM])
            if not self._just_loaded:
                # In some games (Solaris, Tennis) a reset leaves traces of the last game, which a seed must not.
                self.ale.restoreState(self._loaded)
                self._just_loaded = True
        goes_on = self._lost_life_only and seed is None
        if not (goes_on and self._hold(0, 1)):
            self._new_game()
        if self.options.fire_reset and _FIRE in self._actions and not self._hold(_FIRE, self.options.frame_skip):
            self._new_game()
        self._lost_life_only, self._ended = False, False
        self._lives = self.ale.lives()
        self._grab(self._screens[0])
        self._stack[:] = self._flickered(self._resize(self._screens[0]))
        return self._observation(), self._info()

    def _new_game(self) -> None:
        self.ale.reset_game()
        self._just_loaded = False
        self._frames, self._executed = 0, 0
        if self.options.noop_max > 0:
            wanted = int(self.np_random.integers(1, self.options.noop_max + 1))
            if not self._hold(0, wanted):
                self.ale.reset_game()
                self._frames = 0

    def _hold(self, joystick: int, num_frames: int) -> bool:
        """Plays raw frames of one action before an episode begins; False if that ended the game."""
        for _ in range(num_frames):
            self.ale.act(joystick)
            self._frames += 1
            if self._game_over() or self._cap_reached():
                return False
        self._executed = 0
        return True

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step: up to ``frame_skip`` raw frames, fewer if the game ends within them.

        Raises:
            RuntimeError: the episode has ended (or never began) and `reset` was not called.
        """
        if self._ended:
            raise RuntimeError("The episode is over: call reset() before step().")
        joystick, p, skip = self._actions[action], self.options.sticky_action_prob, self.options.frame_skip
        reward, filled, done = 0.0, 0, False
        for frame in range(skip):
            # At step level the draw of the first frame holds for the whole step.
            draw = frame == 0 or self.options.sticky_level == "frame"
            if draw and (p == 0.0 or self.np_random.random() >= p):
                self._executed = joystick
            reward += self.ale.act(self._executed)
            self._frames += 1
            done = self._game_over() or self._cap_reached()
            if done or frame >= skip - 2:
                self._grab(self._screens[filled])
                filled += 1
            if done:
                break
        screen = self._screens[0]
        if filled == 2:
            np.maximum(screen, self._screens[1], out=screen)
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = self._flickered(self._resize(screen))
        terminated, truncated = self._outcome()
        self._ended = terminated or truncated
        return self._observation(), reward, terminated, truncated, self._info()

    def _flickered(self, frame: np.ndarray) -> np.ndarray:
        """The new frame, or nothing of it; with ``flicker_level: stack`` the frames before it are lost too."""
        if self.options.flicker_prob > 0.0 and self._flicker_random.random() < self.options.flicker_prob:
            if self.options.flicker_level == "stack":
                self._stack[:] = 0
            return np.zeros_like(frame)
        return frame

    def _observation(self) -> np.ndarray:
        return (self._stack[::-1] if self.options.stack_order == "newest_first" else self._stack).copy()

    def _outcome(self) -> tuple[bool, bool]:
        """(terminated, truncated); a game that is over at the very frame of the cap counts as over."""
        terminated, truncated = self._game_over(), False
        if not terminated:
            truncated = self._cap_reached()
            lives = self.ale.lives()
            if self.options.terminal_on_life_loss and lives < self._lives:
                terminated, self._lost_life_only, truncated = True, not truncated, False
            self._lives = lives
        return terminated, truncated

    def _game_over(self) -> bool:
        return self.ale.game_over(with_truncation=False)

    def _cap_reached(self) -> bool:
        return self.options.max_frames is not None and self._frames >= self.options.max_frames

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {LIVES: self.ale.lives(), EPISODE_FRAME_NUMBER: self._frames}
        if self.options.terminal_on_life_loss:
            info[GAME_GOES_ON] = self._lost_life_only
        if self._rom in ROOM_BYTES:
            self.ale.getRAM(self._ram)
            info[ROOM] = int(room_of(self._rom, self._ram))
        return info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The screen in colour, ``[210, 160, 3]`` uint8, or None without a render mode."""
        return self.ale.getScreenRGB() if self.render_mode == "rgb_array" else None

    def clone_state(self) -> dict[str, Any]:
        """Saves emulator, stack, counters and random stream (45 kB): a restored run goes on bit for bit."""
        return {
            "emulator": np.frombuffer(self.ale.cloneState(include_rng=True).serialize(), dtype=np.uint8),
            "stack": self._stack.copy(),
            "executed": self._executed,
            "frames": self._frames,
            "lives": self._lives,
            "lost_life_only": self._lost_life_only,
            "ended": self._ended,
            "np_random": copy.deepcopy(self.np_random.bit_generator.state),
            "flicker_random": copy.deepcopy(self._flicker_random.bit_generator.state),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process.

        Raises:
            ConfigError: the state was saved with another frame size or stack.
        """
        check_saved_stack(state["stack"], self._stack)
        self.ale.restoreState(import_ale().ALEState(bytes(state["emulator"])))
        self._just_loaded = False
        self._stack[:] = state["stack"]
        self._executed, self._frames, self._lives = state["executed"], state["frames"], state["lives"]
        self._lost_life_only, self._ended = state["lost_life_only"], state["ended"]
        self.np_random.bit_generator.state = copy.deepcopy(state["np_random"])
        self._flicker_random.bit_generator.state = copy.deepcopy(state["flicker_random"])


def joystick_actions(ale: ALEInterface, options: AtariOptions) -> list[int]:
    """The joystick action of each of the agent's actions, as the options say."""
    if options.actions is not None:
        return [action_names()[name] for name in options.actions]
    legal = ale.getLegalActionSet() if options.full_action_space else ale.getMinimalActionSet()
    return [int(action.value) for action in legal]


def _find_game(env_id: str) -> str:
    """The game of an id.

    Raises:
        ConfigError: there is none of this name, or ale-py is missing.
    """
    match = _ID.match(env_id)
    assert match is not None  # the family said so
    game = match[1] or match[2]
    if game not in atari_games():
        template = "ALE/{}-v5" if match[1] else "{}NoFrameskip-v4"
        raise unknown_name_error("environment", env_id, [template.format(g) for g in atari_games()])
    return game


def _backend(wanted: Wanted[AtariOptions]) -> tuple[str, str]:
    with at("env_config"):
        return atari_backend(_find_game(wanted.env_id), wanted.options)


def _processes(wanted: Wanted[AtariOptions]) -> int:
    worth = wanted.threads > 1 and wanted.num_envs >= _WORTH_PROCESSES
    return wanted.threads if worth and _backend(wanted)[0] == "gymnasium" else 0


def _make_vector(wanted: Wanted[AtariOptions]) -> VectorEnv | None:
    backend, _ = _backend(wanted)
    if backend == "gymnasium":
        processes = _processes(wanted)
        make = functools.partial(AtariEnv, _find_game(wanted.env_id), wanted.options)
        return ProcessVectorEnv(make, wanted.num_envs, processes, wanted.env_id) if processes else None
    return make_native_atari(backend, _find_game(wanted.env_id), wanted.num_envs, wanted.options, wanted.threads)


FAMILY = EnvironmentFamily(
    "ALE/<Game>-v5 or <Game>NoFrameskip-v4",
    "Atari 2600: sticky actions, frame stacks, raw rewards, rooms for five games; presets of four papers",
    AtariOptions,
    matches=lambda env_id: _ID.match(env_id) is not None,
    require=_find_game,
    read=parse_atari_options,
    make=lambda wanted: AtariEnv(_find_game(wanted.env_id), wanted.options, wanted.render_mode),
    make_vector=_make_vector,
    stack=lambda options: FrameStack(options.rebuilt_stack, options.stack_order == "newest_first"),
    backend=_backend,
    processes=_processes,
)
