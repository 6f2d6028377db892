"""How cost grows with environments, rollout length and runners: agent steps per second, time per part, memory.

    python -m benchmarks.scaling --envs 8 32 128 512 --steps 32 128 512 --runners 0 1 2 4

One table of three races: environments (128 steps, no runners), rollout length and runners (both with 32 environments).
Memory is that of the main process, which learns; runners have their own.
"""

from __future__ import annotations

from benchmarks.harness import Contender, arguments, publish, race

PARTS = ("sample_s", "transfer_s", "learn_s", "sync_s")


def contender(envs: int, steps: int, runners: int, overlap: bool, flags: list[str]) -> Contender:
    """The package at one setting; its name holds the setting."""
    name = f"{envs} {steps} {runners}{' overlapped' if overlap else ''}"
    words = ["-m", "benchmarks.product", "--envs", envs, "--steps", steps, "--runners", runners, *flags]
    return Contender(name, [str(word) for word in words] + ["--overlap"] * overlap)


def row(c: Contender) -> dict[str, object]:
    """Medians of one contender; parts per 1,000 agent steps, so that settings can be compared."""
    envs, steps, runners, *overlapped = c.name.split()
    agent_steps = c.median("agent_steps")
    return {
        "environments": int(envs),
        "steps": int(steps),
        "runners": f"{runners}{' overlapped' if overlapped else ''}",
        "agent steps/s": agent_steps / c.median("seconds"),
        **{f"{part} per 1,000": 1000.0 * c.median(part) / agent_steps for part in PARTS},
        "peak MiB": c.median("peak_mib"),
        "of which frames": (int(steps) + 4) * int(envs) * 84 * 84 / 2**20,
    }


if __name__ == "__main__":
    args = arguments(
        __doc__, envs=[8, 32, 128, 512], steps=[32, 128, 512], runners=[0, 1, 2, 4], rounds=2, threads=0, gpu=False
    )
    flags = ["--threads", str(args.threads)] + ["--gpu"] * args.gpu
    races = [
        [contender(envs, 128, 0, False, flags) for envs in args.envs],
        [contender(32, steps, 0, False, flags) for steps in args.steps],
        [contender(32, 128, r, overlap, flags) for r in args.runners for overlap in (False, True)[: 1 + (r > 0)]],
    ]
    rows = []
    for contenders in races:
        race(contenders, args.rounds)
        rows += [row(c) for c in contenders]
    publish(
        "scaling_gpu" if args.gpu else "scaling",
        "How cost grows",
        rows,
        "Seconds of each part are per 1,000 agent steps.",
    )
