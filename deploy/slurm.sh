#!/usr/bin/env bash
# A study on three nodes of Slurm: sbatch deploy/slurm.sh, in a folder that all nodes see, with a virtual environment in
# .venv and team.env beside it. When its time is up Slurm ends it; submitted again, it goes on.
#SBATCH --job-name=losstune
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
set -euo pipefail
source .venv/bin/activate
source team.env  # LOSSTUNE_… and AWS_…, where the team's servers are
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_TOKEN

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}'):6379
on_all_nodes() {
  srun ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- "$@"
}
on_all_nodes losstune launch cosine infonce --data digits --study team --address "$address"
on_all_nodes losstune confirm team --address "$address"
