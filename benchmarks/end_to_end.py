"""Agent steps per second, end to end: the package, the bare loop and a single-file program take turns.

    python -m benchmarks.end_to_end --envs 32 128 --rounds 4
    python -m benchmarks.end_to_end --against ../before     # the package of another checkout takes turns too

RND with the paper's settings (128 steps, 4 epochs, 4 minibatches, a quarter of the samples for the predictor) on
Montezuma's Revenge. All step the same environment through the same code, that of their checkout.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Contender, arguments, commit_of, publish, race

PRODUCT = Path("benchmarks") / "product.py"


def other_checkout(folder: Path, flags: Sequence[str]) -> Contender:
    """The package of another checkout, as a contender.

    It runs as a file, with its folder before all others where Python looks: so do checkouts whose `benchmarks` is no
    package.

    Args:
        folder: its root.
        flags: of the contender.

    Raises:
        SystemExit: there is no contender.
    """
    folder = folder.resolve()
    if not (folder / PRODUCT).is_file():
        raise SystemExit(f"--against: {folder} has no {PRODUCT}; allowed is the root of another checkout.")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    name = f"rllib_rnd at {commit_of(folder) or folder.name}"
    return Contender(name, [str(PRODUCT), *flags], {"PYTHONPATH": path}, folder)


def times(reference: Contender, contender: Contender) -> float:
    """How many times as fast as another one; round by round, so that what drifts between rounds cancels."""
    pairs = zip(reference.rounds, contender.rounds, strict=True)
    return statistics.median(theirs["seconds"] / own["seconds"] for theirs, own in pairs)


def rows_for(num_envs: int, rounds: int, threads: int, against: str) -> list[dict[str, object]]:
    """One race at one number of environments."""
    flags = ["--envs", str(num_envs), "--threads", str(threads)]
    product = Contender("rllib_rnd", ["-m", "benchmarks.product", *flags])
    bare = Contender("bare loop", ["-m", "benchmarks.bare_loop", *flags])
    single = Contender("single file", ["-m", "benchmarks.single_file", *flags])
    references = {"times the single file": single, "share of the bare loop": bare}
    contenders = [product, bare, single]
    if against:
        other = other_checkout(Path(against), flags)
        references["times the other checkout"] = other
        contenders.insert(1, other)  # next to each other, so that least drifts between the two
    race(contenders, rounds)
    return [
        {
            "environments": num_envs,
            "program": contender.name,
            "agent steps/s": num_envs * 128 / contender.median("seconds"),
            **{column: times(reference, contender) for column, reference in references.items()},
            "sampling s": contender.median("sample_s"),
            "learning s": contender.median("learn_s"),
            "peak MiB": contender.median("peak_mib"),
        }
        for contender in contenders
    ]


if __name__ == "__main__":
    args = arguments(__doc__, envs=[32, 128], rounds=4, threads=0, against="")
    table = [row for num_envs in args.envs for row in rows_for(num_envs, args.rounds, args.threads, args.against)]
    notes = "Medians over rounds that took turns; ratios are medians of the ratios of each round."
    publish("end_to_end_against" if args.against else "end_to_end", "End to end", table, notes)
