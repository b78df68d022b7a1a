#!/usr/bin/env bash
# Cross-validation on the workspace that this file lies in.
set -euo pipefail

usage() {
  cat <<'EOF'
Usage: ./run_kfold_cv.sh [--k=FOLDS] [--epochs=N] [--batch-size=N] [--img-size=PIXELS] [--patience=N]

Freezes the corrected data into a snapshot, splits it into folds and trains them side by side.
What is not given stays as params.yaml has it. Results: media/runs/kfold/kfold_results.csv.
EOF
}

set_params=()
for argument in "$@"; do
  case "$argument" in
    --k=?*) set_params+=(-S "K_FOLDS=${argument#*=}") ;;
    --epochs=?*) set_params+=(-S "EPOCHS=${argument#*=}") ;;
    --batch-size=?*) set_params+=(-S "BATCH_SIZE=${argument#*=}") ;;
    --img-size=?*) set_params+=(-S "IMG_SIZE=${argument#*=}") ;;
    --patience=?*) set_params+=(-S "PATIENCE=${argument#*=}") ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      echo "Unknown argument: $argument" >&2
      usage >&2
      exit 2
      ;;
  esac
done

cd "$(dirname "${BASH_SOURCE[0]}")"
# The environment that Second Look is installed in, where there is one beside this file.
if [ -d .venv/bin ]; then
  PATH="$PWD/.venv/bin:$PATH"
fi
# DVC commits each experiment for itself, and git refuses that to someone it does not know.
if ! git config user.email >/dev/null; then
  export GIT_COMMITTER_NAME=second-look GIT_COMMITTER_EMAIL=second-look@localhost
fi
exec python -m dvc exp run "${set_params[@]}" kfold_model_training
