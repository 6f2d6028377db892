"""``rllib explain``: shows what a checkpoint's agent attends to, with controls, in a gallery that opens anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.explanation import AGENT, BASELINE, UNTRAINED
from rllib_rnd.analysis.extras import import_extra
from rllib_rnd.analysis.figures.insight_video import checked
from rllib_rnd.analysis.figures.mp4 import import_ffmpeg
from rllib_rnd.analysis.maps import Method
from rllib_rnd.analysis.methods import METHODS
from rllib_rnd.analysis.methods.convolutions import layers_with_maps
from rllib_rnd.analysis.methods.gradcam import LayerMethod
from rllib_rnd.analysis.methods.making import make_method
from rllib_rnd.analysis.projection import check_projection
from rllib_rnd.analysis.replay import replay
from rllib_rnd.analysis.tape_file import load_observations, load_tape
from rllib_rnd.analysis.targets import Target, targets_of
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.explain_work import FULL, PAGE, QUICK, Plan, Recorded, Work
from rllib_rnd.cli.gallery_folder import GalleryFolder
from rllib_rnd.cli.map import load_run
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.work_bar import WorkBar
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.tracking.labels import label_of_folder


@dataclass(frozen=True)
class ExplainOptions:
    """The options of ``rllib explain``.

    Attributes:
        out: the gallery's folder.
        baseline: checkpoint of another agent that looks at the same states; None: nobody.
        episodes: that are played; None: 1.
        tape: files of episodes that were played before.
        states: files of observations.
        video: write an MP4 file too.
        video_methods: names, comma separated, whose maps are in it; None: what suits the backbone.
        quick: little of everything, in under a minute.
        seed: of the first episode, the untrained weights and the pixels blanked at random.
        methods, targets: names, comma separated; None: all.
        layer: of the backbone, that Grad-CAM and Grad-CAM++ look into; None: the last convolution map.
        max_steps: agent steps after which an episode is cut; None: 4500, quick 400.
        num_states: that are looked into; None: 12, quick 4.
        deterministic: the most likely action instead of a draw.
        projection: pca or tsne.
    """

    out: str
    baseline: str | None = None
    episodes: int | None = None
    tape: Sequence[str] = ()
    states: Sequence[str] = ()
    video: bool = False
    video_methods: str | None = None
    quick: bool = False
    seed: int = 0
    methods: str | None = None
    targets: str | None = None
    layer: str | None = None
    max_steps: int | None = None
    num_states: int | None = None
    deterministic: bool = False
    projection: str = "pca"

    @property
    def plan(self) -> Plan:
        """How much is looked at, and how."""
        usual = QUICK if self.quick else FULL
        return replace(
            usual,
            states=self.num_states or usual.states,
            max_steps=self.max_steps or usual.max_steps,
            episodes=self.episodes or 1,
            seed=self.seed,
            deterministic=self.deterministic,
            projection="tsne" if self.projection == "tsne" else "pca",
            layer=self.layer,
            video=self.video,
            video_methods=listed_names("--video-methods", self.video_methods) if self.video_methods else (),
        )

    def check(self) -> None:
        """Refuses options that contradict each other, or that need a package which is not installed.

        Raises:
            ConfigError: there are some.
        """
        given = [f"--{name}" for name in ("episodes", "tape", "states") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(given[1], f"stands in place of {given[0]}; give one of them")
        if self.video_methods and not self.video:
            raise ConfigError("--video-methods", "are of the video, which only --video writes", "both, or neither")
        if self.states and self.video:
            raise ConfigError("--video", "shows episodes, and --states has none", "it with --episodes or --tape")
        check_projection(self.projection, "--projection")
        if not self.states:
            import_extra("matplotlib", "pictures of features", "plots")


def explain(checkpoint: str, options: ExplainOptions) -> Path:
    """Writes a gallery of what an agent attends to and returns its page.

    Raises:
        ConfigError: no usable checkpoint, options that do not fit it, files that cannot be read or written; or a method
            or reward that failed, once everything else is written.
        KeyboardInterrupt: Ctrl-C; what was finished is written.
    """
    be_quiet(verbose=False)
    options.check()
    folder = find_checkpoint(checkpoint)
    agent = Agent.load(folder, "explain")
    agents = {AGENT: agent, UNTRAINED: agent.untrained(options.seed)}
    if options.baseline is not None:
        agents[BASELINE] = load_baseline(options.baseline, agent)
    methods = chosen_methods(options.methods, options.layer)
    targets = chosen_targets(options.targets, agents)
    check_layer(options, agent, methods)
    if options.video:  # what cannot be is told before anything is played
        import_ffmpeg()
        with blamed_on("--video-methods"):
            checked(agent, {name: [] for name in options.plan.video_methods}, options.layer)
    recorded = read_recorded(options, agent)
    check_out(options)
    out = GalleryFolder(Path(options.out))
    with one_thread(), WorkBar() as bar:
        work = Work(agents, targets, options.plan, out, bar, header(folder, agents, options))
        try:
            work.check_targets()
            work.observe(recorded)
            work.look(methods)
            work.look_elsewhere()
        except BaseException as error:
            by = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else "an error"
            with contextlib.suppress(ConfigError):  # of a full disk, say: the first error is the one to tell
                bar.say(f"stopped: {work.write(f'Stopped by {by}; this page shows what was finished until then.')}")
            raise
        line = work.write()
    say(line)
    if work.failures:
        raise work.failures[0]
    return out.root / PAGE


def check_out(options: ExplainOptions) -> None:
    """Refuses to write where what is read lies: an earlier gallery's files are replaced.

    Raises:
        ConfigError: it would be.
    """
    out = Path(options.out).resolve()
    for file in (*options.tape, *options.states):
        if Path(file).resolve().is_relative_to(out):
            raise ConfigError(f"--out {options.out}", f"{file}, which is read, lies in it", "another folder")


def read_recorded(options: ExplainOptions, agent: Agent) -> Recorded | None:
    """Reads what was recorded before; None: episodes are to be played.

    Raises:
        ConfigError: files that cannot be read, or of other observations than the agent's.
    """
    if options.tape:
        tapes = [replay(agent, load_tape(Path(file), agent)) for file in options.tape]
        return Recorded(tapes, None, ())
    if options.states:
        obs, origins = load_observations(options.states, agent)
        return Recorded([], obs, [f"{name}, row {row}" for name, row in origins])
    return None


def header(folder: Path, agents: Mapping[str, Agent], options: ExplainOptions) -> dict[str, str]:
    """What the page says of the agent: names only, no paths of this machine."""
    agent = agents[AGENT]
    rewards = ", ".join(agent.reward_names) or "none"
    facts = {
        "environment": agent.env,
        "checkpoint": checkpoint_name(folder),
        "agent steps trained": f"{load_run(folder, '').agent_steps:,}",
        "backbone": type(agent.module.backbone).name or type(agent.module.backbone).__name__,
        "intrinsic rewards": rewards,
        "seed": str(options.seed),
    }
    if BASELINE in agents:
        facts["baseline"] = checkpoint_name(agents[BASELINE].folder)
    return facts


def checkpoint_name(folder: Path) -> str:
    """A checkpoint's run, trial and name; of one that was copied elsewhere its own name."""
    if not (folder.parent / "result.json").is_file():
        return folder.name
    label = label_of_folder(folder.parent)
    parts = [folder.parts[-3], label if label != folder.parent.name else "", folder.name]
    return " / ".join(part for part in parts if part)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Has torch compute in one thread: of a few observations at a time, threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- what is asked for ----------------------------------------------------------------------------------------------


def load_baseline(checkpoint: str, agent: Agent) -> Agent:
    """Loads the agent that looks at the same states.

    Raises:
        ConfigError: no usable checkpoint, or it sees or does other things than the agent.
    """
    with blamed_on(f"--baseline {checkpoint}"):
        baseline = Agent.load(find_checkpoint(checkpoint), "explain")
    for what in ("observation_space", "action_space"):
        own, other = getattr(agent.module, what), getattr(baseline.module, what)
        if own != other:
            words = what.replace("_", " ")
            raise ConfigError(f"--baseline {checkpoint}", f"its {words} is {other}", f"that of the agent, {own}")
    return baseline


@contextlib.contextmanager
def blamed_on(option: str) -> Iterator[None]:
    """Puts an option in place of the path of a `ConfigError` that comes out of the block.

    It is what the user typed; the path of a part of the package would stand behind it as if it were a setting of it.
    """
    try:
        yield
    except ConfigError as error:
        error.path = option
        raise


def chosen_methods(names: str | None, layer: str | None) -> list[Method]:
    """The methods of a comma-separated list (import paths too), or all.

    Raises:
        ConfigError: an unknown name, or a method that cannot be made.
    """
    listed = METHODS.names() if names is None else listed_names("--methods", names)
    return [make_method(name, "--methods", layer) for name in listed]


def check_layer(options: ExplainOptions, agent: Agent, methods: Sequence[Method]) -> None:
    """Refuses a layer that is not there, and one that nothing would look into.

    Raises:
        ConfigError: naming the layers that there are.
    """
    if options.layer is None:
        return
    known = layers_with_maps(agent)
    if not known:
        kind = agent.module.backbone.name or type(agent.module.backbone).__name__
        problem = f"the backbone {kind} has no layer whose output is a map [C, h, w]"
        raise ConfigError("--layer", problem, "an agent that reads pictures")
    if options.layer not in known:
        raise unknown_name_error("layer", options.layer, known, "--layer")
    if not any(isinstance(method, LayerMethod) for method in methods):
        takes = [name for name, cls in METHODS.items() if issubclass(cls, LayerMethod)]
        raise ConfigError("--layer", f"is of the methods {', '.join(takes)}", "one of them among --methods, too")


def chosen_targets(names: str | None, agents: Mapping[str, Agent]) -> dict[str, list[Target]]:
    """The targets of each agent that are in a comma-separated list, or all that it has.

    Spaces do not matter, and the name of a reward may be left out: ``intrinsic_value`` is that of every reward.

    Raises:
        ConfigError: a name that no agent has, or that of an intrinsic reward where none has one.
    """
    known = {who: targets_of(agent) for who, agent in agents.items()}
    if names is None:
        return known
    every = list(dict.fromkeys(target.name for targets in known.values() for target in targets))
    wanted: set[str] = set()
    for name in listed_names("--targets", names):
        found = {one for one in every if name.replace(" ", "") in (one.replace(" ", ""), one.partition(":")[0])}
        if not found:
            if name.startswith("intrinsic_") and not any(agent.reward_names for agent in agents.values()):
                whose = "neither the agent nor the baseline has one" if BASELINE in agents else "the agent has none"
                raise ConfigError("--targets", f"{name!r} is of an intrinsic reward, and {whose}", every)
            raise unknown_name_error("target", name, every, "--targets")
        wanted |= found
    return {who: [target for target in targets if target.name in wanted] for who, targets in known.items()}


def listed_names(option: str, text: str) -> list[str]:
    """Reads ``a, b``.

    Raises:
        ConfigError: no name, or one twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ConfigError(option, f"{text!r} names nothing", "names, comma separated")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(option, f"{twice!r} stands there twice", "each name once")
    return names
