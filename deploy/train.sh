#!/usr/bin/env bash
# Trains, or goes on where the same run was cut off: what a scheduler may start again and again.
#
#   train.sh EXPERIMENT NAME STORAGE [options of `rllib train`]
#
# EXPERIMENT is a file or the name of an example, NAME the run's folder in STORAGE, a folder that outlives the machine.
# RLLIB_PID_FILE, if set, gets the number of the process that SIGTERM asks to save and to end (with exit code 143).
set -euo pipefail
if (($# < 3)); then
    grep -o 'train.sh EXPERIMENT.*' "$0" >&2
    exit 2
fi
experiment=$1 name=$2 storage=$3
shift 3
resume=()
if [[ -e "$storage/$name/run.json" ]]; then
    resume=(--resume)
fi
if [[ -n "${RLLIB_PID_FILE:-}" ]]; then
    echo $$ >"$RLLIB_PID_FILE"
fi
# In place of this shell, so that signals and the exit code are the command's own.
exec rllib train "$experiment" --name "$name" --storage "$storage" "${resume[@]}" "$@"
