"""Do bfloat16 and torch.compile help here? The package end to end, plain and with each of them, takes turns.

python -m benchmarks.acceleration --envs 32 --rounds 2
python -m benchmarks.acceleration --envs 512 --rounds 2 --gpu
"""

from __future__ import annotations

from benchmarks.harness import Contender, arguments, publish, race

VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "bfloat16": ["--autocast", "bfloat16"],
    "compiled": ["--compile"],
    "bfloat16, compiled": ["--autocast", "bfloat16", "--compile"],
}


if __name__ == "__main__":
    args = arguments(__doc__, envs=[32], steps=128, rounds=2, threads=0, gpu=False, variants=list(VARIANTS))
    rows = []
    for num_envs in args.envs:
        flags = ["--envs", str(num_envs), "--steps", str(args.steps), "--threads", str(args.threads)]
        flags += ["--gpu"] * args.gpu
        contenders = [Contender(name, ["-m", "benchmarks.product", *flags, *VARIANTS[name]]) for name in args.variants]
        race(contenders, args.rounds, warmup=2)  # the second iteration compiles again, for sizes that vary
        plain = contenders[0].median("seconds")
        rows += [
            {
                "environments": num_envs,
                "variant": c.name,
                "agent steps/s": num_envs * args.steps / c.median("seconds"),
                "times plain": plain / c.median("seconds"),
                "sampling s": c.median("sample_s"),
                "transfer s": c.median("transfer_s"),
                "learning s": c.median("learn_s"),
                "peak MiB": c.median("peak_mib"),
                **({"GPU peak MiB": c.median("gpu_peak_mib")} if args.gpu else {}),
            }
            for c in contenders
        ]
    publish("acceleration_gpu" if args.gpu else "acceleration", "bfloat16 and torch.compile", rows)
