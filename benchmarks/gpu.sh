#!/usr/bin/env bash
# All benchmarks of a machine with a GPU in one command of under eight minutes, and then a run on Montezuma's Revenge.
#
#   bash benchmarks/gpu.sh                          tables under benchmarks/results/
#   MONTEZUMA_SECONDS=900 bash benchmarks/gpu.sh    and a training run of that length with 512 environments
#   QUICK=1 bash benchmarks/gpu.sh                  everything once at sizes of seconds, also without a GPU
#
# MONTEZUMA_ENVS=512     environments of the training run
# PYTHON=...             the interpreter with this package (default: .venv/bin/python, else python3)
# WHEELS=FOLDER          install what is in that folder first, without a network (a machine that reaches nothing)
# BENCHMARK_RESULTS=...  folder of the tables
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

MONTEZUMA_ENVS=${MONTEZUMA_ENVS:-512}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
export BENCHMARK_RESULTS=${BENCHMARK_RESULTS:-benchmarks/results} PYTHONUNBUFFERED=1
if [ -n "${WHEELS:-}" ]; then
    SITE=$(mktemp -d)
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$SITE" "$WHEELS"/*.whl
    export PYTHONPATH="$SITE:$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
"$PYTHON" -c 'import rllib_rnd' || { echo "gpu.sh: $PYTHON cannot import rllib_rnd: run 'make setup', or set WHEELS." >&2; exit 2; }

GPU=$("$PYTHON" -c 'import torch; print("--gpu" if torch.cuda.is_available() else "")')
[ -n "$GPU" ] || echo "gpu.sh: no GPU is seen; everything runs on the CPU."

run() {
    local started=$SECONDS
    echo "== $*"
    "$PYTHON" -m "benchmarks.$1" "${@:2}"
    echo "== $((SECONDS - started)) s"
}

if [ -n "${QUICK:-}" ]; then
    run environments --envs 2 --rounds 1 --seconds 0.1 --threads 1
    run learner --envs 1 --rounds 1 --threads 1 $GPU
    run acceleration --envs 2 --steps 8 --rounds 1 --threads 1 --variants plain bfloat16 $GPU
    run backbones --acting 2 --training 8 --rounds 1 --threads 1 --backbones nature_cnn gru $GPU
    run bonuses --envs 1 --rounds 1 --threads 1 --rewards rnd $GPU
else
    run environments --envs 128 512 --rounds 2 --seconds 2
    run sampling --envs 32 --rounds 2
    run learner --envs 128 512 --rounds 2 $GPU
    run acceleration --envs 512 --rounds 2 $GPU
    run backbones --acting 512 --training 4096 --rounds 5 $GPU
    run bonuses --envs 128 --rounds 3 $GPU
    run scaling --envs 128 512 --steps 128 --runners 0 4 8 --rounds 1 $GPU
fi

if [ -n "${MONTEZUMA_SECONDS:-}" ]; then
    echo "== Montezuma's Revenge, $MONTEZUMA_ENVS environments, $MONTEZUMA_SECONDS s"
    "$PYTHON" -c 'from rllib_rnd.cli import main; main()' \
        train file tuned_examples/montezuma_rnd.yaml --stop "time_total_s=$MONTEZUMA_SECONDS" \
        --set config.num_env_runners=0 --set "config.num_envs_per_env_runner=$MONTEZUMA_ENVS" \
        --set "config.num_gpus_per_learner=$([ -n "$GPU" ] && echo 1 || echo 0)" \
        --storage "$BENCHMARK_RESULTS/montezuma" --name montezuma
fi
