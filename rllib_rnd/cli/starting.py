"""Around a run: what is refused before it starts, what it waits for, and what is left when it was cut off."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import ray

from rllib_rnd.cli.checkpoints import checkpoints_in
from rllib_rnd.cli.summary import relative, typed
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.resources import describe_free, describe_nodes, describe_sum, nodes, shortage, trials_wait


def cluster_address(address: str | None) -> str | None:
    """Returns the cluster that training joins: the option's, or Ray's own ``RAY_ADDRESS``; None is this machine."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found in (None, "", "local") else found


def check_resources(experiment: Experiment) -> None:
    """Refuses an experiment whose first trial asks for more than this machine has.

    Raises:
        ConfigError: which setting asks for it, and what there is.
    """
    config = experiment.sample_config()
    bundles = experiment.algorithm_class.default_resource_request(config).bundles
    error = shortage(config, bundles, nodes())
    if error is not None:
        with experiment.placing_errors():
            raise error


def needs(experiment: Experiment) -> Callable[[], str]:
    """Returns what tells what a trial needs and Ray has, while Ray has no room for one; "" else."""
    bundles = experiment.algorithm_class.default_resource_request(experiment.sample_config()).bundles

    def tell() -> str:
        if not trials_wait(bundles):
            return ""
        there = nodes()
        free = describe_free(ray.available_resources(), there)
        return f"a trial needs {describe_sum(bundles)}; Ray has {describe_nodes(there)}, free: {free}"

    return tell


def stopped_now(folder: Path, resume: str) -> str:
    """Returns what is left of a run that a second Ctrl-C ended, and the command that continues it."""
    kept = checkpoints_in(folder) if folder.is_dir() else []
    if not kept:
        return "\nStopped now; no checkpoint had been written, so nothing is kept but the results so far."
    with (kept[-1] / "algorithm_state.pkl").open("rb") as file:  # its result may not have been logged any more
        iteration = pickle.load(file).get("training_iteration")
    lines = [
        "\nStopped now; nothing more was saved.",
        f"kept         {relative(str(kept[-1]))} (iteration {iteration})",
        f"resume       {typed(resume)}",
    ]
    return "\n".join(lines)
