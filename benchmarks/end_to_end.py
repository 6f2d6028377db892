"""Agent steps per second, end to end: the package, the bare loop and a single-file program take turns.

    python benchmarks/end_to_end.py --envs 32 128 --rounds 4

RND with the paper's settings (128 steps, 4 epochs, 4 minibatches, a quarter of the samples for the predictor) on
Montezuma's Revenge. All three step the same environment through the same code.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _harness import Contender, arguments, publish, race

PROGRAMS = {"rllib_rnd": "product.py", "bare loop": "bare_loop.py", "single file": "single_file.py"}


def rows_for(num_envs: int, rounds: int, threads: int) -> list[dict[str, object]]:
    """One race at one number of environments."""
    flags = ["--envs", str(num_envs), "--threads", str(threads)]
    contenders = [Contender(name, [f"benchmarks/{file}", *flags]) for name, file in PROGRAMS.items()]
    race(contenders, rounds)
    single = contenders[-1]
    rows: list[dict[str, object]] = []
    for contender in contenders:
        # Ratios round by round: what drifts between rounds cancels.
        pairs = zip(contender.rounds, single.rounds, contenders[1].rounds, strict=True)
        ratios = sorted((s["seconds"] / c["seconds"], b["seconds"] / c["seconds"]) for c, s, b in pairs)
        middle = ratios[len(ratios) // 2]
        rows.append(
            {
                "environments": num_envs,
                "program": contender.name,
                "agent steps/s": num_envs * 128 / contender.median("seconds"),
                "times the single file": middle[0],
                "share of the bare loop": sorted(r[1] for r in ratios)[len(ratios) // 2],
                "sampling s": contender.median("sample_s"),
                "learning s": contender.median("learn_s"),
                "peak MiB": contender.median("peak_mib"),
            }
        )
    return rows


if __name__ == "__main__":
    args = arguments(__doc__, envs=[32, 128], rounds=4, threads=0)
    table = [row for num_envs in args.envs for row in rows_for(num_envs, args.rounds, args.threads)]
    notes = "Medians over rounds that took turns; ratios are medians of the ratios of each round."
    publish("end_to_end", "End to end", table, notes)
