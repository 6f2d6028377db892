"""Checks of a run: how it stands, what is left of it, whether its numbers are those of a training that is well."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rllib_rnd.analysis.diagnosis.finding import Finding
from rllib_rnd.analysis.diagnosis.subject import STORE, Trained
from rllib_rnd.analysis.results.health import DEAD_BONUS, bonus_left

_EXPLODED = 1e3  # times its first tenth
_COLLAPSED = 1e-5  # spread of features, that of which is about 1
_CERTAIN = 1e-3  # nats: below that entropy a policy always does the same
_STUCK = 3  # iterations without an agent step
_MANY = 0.01  # of all updates skipped
_LEARNED = 0.5  # of the way from the least mean return to the best episode
_FORGOTTEN = 0.25  # of what had been gained
_FEATURES = re.compile(r"(feature_std|feature_spread)")
# What must be a number in the last result of a training.
_NUMBERS = ("total_loss", "policy_loss", "grad_norm", "entropy", "intrinsic_reward_mean", "intrinsic_return_std")


def state(of: Trained) -> Finding:
    """How it stands."""
    run = of.run
    detail = f"{run.algorithm} on {run.task}: {run.state}, {run.agent_steps:,} agent steps"
    if run.budget:
        detail += f" of {run.budget:,}"
    iteration, started = run.final("iteration"), run.provenance.get("created", "")
    detail += f", iteration {iteration:.0f}" if np.isfinite(iteration) else ""
    detail += f", started {started[:16].replace('T', ' ')}" if started else ""
    detail += f", resumed {run.resumed}x" if run.resumed else ""
    if run.state in ("failed", "crashed"):
        return Finding("problem", "state", detail, of.resume or "Start a new run with --checkpoint.")
    if run.state == "stopped" and of.resume:
        return Finding("ok", "state", detail, of.resume)
    if run.state == "unknown":
        advice = "Nothing tells whether it still runs: it has no result yet, or is another machine's. Ask there."
        return Finding("note", "state", detail, advice)
    return Finding("ok", "state", detail)


def checkpoints(of: Trained) -> Finding:
    """Which checkpoint it can go on from, and which are bad."""
    if of.valid is None and not of.bad:
        level = "note" if of.run.state == "running" else "warning"
        advice = "A run that ends now has nothing to go on from: checkpoint_config says when it saves."
        return Finding(level, "checkpoints", "none", advice)  # type: ignore[arg-type]
    bad = "; ".join(f"{_name(path)}: {why}" for path, why in of.bad.items())
    if of.valid is None:
        return Finding("problem", "checkpoints", f"none is valid ({bad})", "Train anew; nothing of it can be loaded.")
    detail = f"newest valid: {_name(of.valid)}"
    if bad:
        advice = "It is passed over; delete it if it is of no use."
        return Finding("warning", "checkpoints", f"{detail}; not {bad}", advice)
    return Finding("ok", "checkpoints", detail)


def versions(of: Trained) -> Finding:
    """Whether what it was begun with is what is installed."""
    return compare_versions(of.versions, of.installed)


def compare_versions(then: Mapping[str, str], now: Mapping[str, str]) -> Finding:
    """Whether versions of then are those of now; patch numbers do not count."""
    if not then:
        advice = "If it does not load, the version of rllib_rnd that was current when it was made reads it."
        return Finding("note", "versions", "it does not tell what it was made with", advice)
    other = {name: (v, now.get(name, "none")) for name, v in then.items() if _minor(v) != _minor(now.get(name, ""))}
    if not other:
        told = ", ".join(f"{name} {then[name]}" for name in ("rllib_rnd", "ray", "torch") if name in then)
        return Finding("ok", "versions", f"as installed ({told or 'python ' + then.get('python', '')})")
    detail = ", ".join(f"{name} {was}, here {is_}" for name, (was, is_) in other.items())
    wanted = " ".join(f"{name}=={was}" for name, (was, _) in other.items() if name != "python")
    advice = f"If it does not load: pip install {wanted}" if wanted else "Use that Python if it does not load."
    return Finding("warning", "versions", detail, advice)


def _minor(version: str) -> str:
    return ".".join(version.partition("+")[0].split(".")[:2])


def rows(of: Trained) -> Finding:
    """Whether results are missing between others."""
    iterations = of.run.metrics.get("iteration", np.empty(0))
    iterations = iterations[np.isfinite(iterations)]
    if of.run.unreadable:
        damaged = f"{of.run.unreadable} damaged line{'s' * (of.run.unreadable > 1)}"
        detail = f"{damaged} in result.json, {len(iterations)} that can be read"
        advice = "They are left out of curves and tables; checkpoints do not need them, and MLflow may still have them."
        return Finding("warning", "results", detail, advice)
    if of.run.thinned > 1:
        return Finding("ok", "results", f"{len(iterations)} of many were read")
    gaps = np.nonzero(np.diff(iterations) > 1)[0]
    if len(gaps):
        first = int(gaps[0])
        detail = f"{len(gaps)} gaps; the first after iteration {iterations[first]:.0f}"
        advice = "Lost where a run was killed before its file was written; curves have a hole there, training none."
        return Finding("warning", "results", detail, advice)
    return Finding("ok", "results", f"{len(iterations)} iterations, none missing")


def progress(of: Trained) -> Finding:
    """Whether agent steps still grow."""
    steps = of.run.metrics.get("agent_steps", np.empty(0))
    if len(steps) > _STUCK and steps[-1] == steps[-1 - _STUCK]:
        advice = "Its runners deliver nothing: look for their errors in Ray's logs, /tmp/ray/session_latest/logs."
        return Finding("problem", "progress", f"no agent steps in the last {_STUCK} iterations", advice)
    return Finding("ok", "progress", "agent steps grow" if len(steps) > 1 else "too few results to tell")


def returns(of: Trained) -> Finding:
    """Whether what was learned is still there.

    Learned: the mean return came at least halfway from its least to the best single episode, which luck does not.
    """
    steps, means, best_of_all = (
        of.run.metrics.get(name, np.empty(0)) for name in ("agent_steps", "return_mean", "return_max")
    )
    known = np.isfinite(means) if len(means) == len(steps) else np.zeros(0, bool)
    if not known.any() or not np.isfinite(best_of_all).any():
        return Finding("ok", "returns", "none yet")
    steps, means = steps[known], means[known]
    best = int(np.argmax(means))
    least, last = float(means[: best + 1].min()), float(means[-1])
    gained, possible = float(means[best]) - least, float(np.nanmax(best_of_all)) - least
    if gained >= _LEARNED * possible > 0.0 and last - least < _FORGOTTEN * gained:
        detail = f"forgotten: {means[best]:.4g} at {steps[best]:,.0f} agent steps, {last:.4g} now"
        advice = (
            "Where a time limit is the task's own clock: bootstrap_truncated: false; else a smaller coeff, "
            "a falling lr. An earlier checkpoint may still know it."
        )
        return Finding("warning", "returns", detail, advice)
    return Finding("ok", "returns", f"{last:.4g}, at best {means[best]:.4g}")


def bonus(of: Trained) -> Finding:
    """Whether the intrinsic reward is alive."""
    if "intrinsic_reward_mean" not in of.run.metrics:
        return Finding("ok", "bonus", "there is none")
    share, last = bonus_left(of.run), of.run.metrics["intrinsic_reward_mean"][-1]
    if not np.isfinite(last):
        advice = "Go on from a checkpoint before that, with a smaller lr or intrinsic_reward.clip_reward."
        return Finding("problem", "bonus", f"the last one is {last}", advice)
    if last == 0.0 or (share is not None and share < DEAD_BONUS):
        detail = f"spent: {last:.3g}" + (f", {share:.2g} times that of the first tenth" if share is not None else "")
        advice = "Nothing is new to it any more: a smaller update_proportion or learning rate makes it last longer."
        return Finding("warning", "bonus", detail, advice)
    if share is not None and share > _EXPLODED:
        advice = "Its networks diverge: a smaller lr, grad_clip, or intrinsic_reward.clip_input."
        return Finding("warning", "bonus", f"exploded: {share:.2g} times that of the first tenth", advice)
    return Finding("ok", "bonus", f"alive: {last:.3g}" + (f", {share:.2g} times the first tenth" if share else ""))


def features(of: Trained) -> Finding:
    """Whether learned features still differ between observations."""
    spread = {name: of.run.final(name) for name in of.run.metrics if _FEATURES.search(name)}
    gone = {name: value for name, value in spread.items() if value < _COLLAPSED}
    if gone:
        told = ", ".join(f"{name} {value:.2g}" for name, value in gone.items())
        advice = "All observations look alike to it: another loss (vic, barlow, infonce), or stronger terms against it."
        return Finding("warning", "features", f"collapsed: {told}", advice)
    return Finding("ok", "features", "apart from each other" if spread else "none are watched")


def entropy(of: Trained) -> Finding:
    """Whether the policy still tries things."""
    last = of.run.final("entropy")
    if 0.0 <= last < _CERTAIN:
        advice = "It always does the same: a larger entropy_coeff keeps it trying; or training is done."
        return Finding("warning", "policy", f"its entropy is {last:.2g} nats", advice)
    return Finding("ok", "policy", f"its entropy is {last:.3g} nats" if np.isfinite(last) else "no entropy is told")


def numbers(of: Trained) -> Finding:
    """Whether losses are numbers, and how many updates were skipped because they were none."""
    metrics = of.run.metrics
    known = {name: metrics[name] for name in _NUMBERS if name in metrics and len(metrics[name])}
    broken = [name for name, values in known.items() if not np.isfinite(values[-1])]
    if broken:
        advice = "Go on from a checkpoint before that, with a smaller lr or grad_clip."
        return Finding("problem", "numbers", f"not finite at the end: {', '.join(broken)}", advice)
    skipped, seen = of.run.final("nonfinite_updates"), of.run.final("broken_observations")
    iterations = of.run.final("iteration")
    if skipped > 0 or seen > 0:
        counts = {"updates skipped": skipped, "broken observations": seen}
        told = ", ".join(f"{count:,.0f} {name}" for name, count in counts.items() if count > 0)
        level = "warning" if skipped > _MANY * iterations else "note"
        advice = "Rare ones are harmless; many: a smaller lr, grad_clip, or an environment that sends NaN."
        return Finding(level, "numbers", told, advice)  # type: ignore[arg-type]
    return Finding("ok", "numbers", "all finite, no update skipped")


def failures(of: Trained) -> Finding:
    """What was made anew because it failed."""
    names = {"env_failures": "environments failed", "hanging_env_runners": "runners hung"}
    counts = {words: of.run.final(name) for name, words in names.items()}
    told = ", ".join(f"{words} {count:,.0f} times" for words, count in counts.items() if count > 0)
    if told:
        advice = "They were made anew and training went on; Ray's logs say why they failed."
        return Finding("note", "failures", told, advice)
    return Finding("ok", "failures", "none")


def mlflow(of: Trained) -> Finding:
    """Whether MLflow has all of it."""
    store = of.home.parent / STORE
    if of.logged is None:
        return Finding("ok", "MLflow", f"no store beside it ({STORE})")
    if of.logged < 0:
        return Finding("warning", "MLflow", f"{store.name} does not know it", "It was logged elsewhere, or not at all.")
    if of.logged < of.run.agent_steps and of.run.state != "running":
        detail = f"{store.name} has {of.logged:,} of {of.run.agent_steps:,} agent steps"
        return Finding("warning", "MLflow", detail, "The last rows were lost; result.json has them.")
    return Finding("ok", "MLflow", f"{store.name} has it")


def use(of: Trained) -> Finding:
    """What can be done with it."""
    if of.valid is None:
        advice = "Its first valid checkpoint can be: wait for it, or look at checkpoints above."
        return Finding("note", "use", "nothing to evaluate yet", advice)
    return Finding("ok", "use", "it can be evaluated and exported", f"rllib evaluate {_relative(of.home)}")


def _name(path: Path) -> str:
    return path.name


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


#: In the order in which they are told.
CHECKS: tuple[Callable[[Trained], Finding], ...] = (
    state,
    checkpoints,
    versions,
    rows,
    progress,
    numbers,
    returns,
    bonus,
    features,
    entropy,
    failures,
    mlflow,
    use,
)
