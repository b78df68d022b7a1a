#!/bin/sh
# Random secrets for the kind overlay, in secrets/ beside this file, which git ignores. What is there is kept.
set -eu
cd "$(dirname "$0")"
umask 077
if [ -e secrets ]; then
  echo "secrets/ is there already: nothing was changed." >&2
  exit 0
fi
mkdir secrets
database=$(openssl rand -hex 24)
mlflow=$(openssl rand -hex 24)
echo "SECONDLOOK_DATABASE_URL=postgresql://secondlook:$database@postgres:5432/secondlook" > secrets/database.env
printf 'POSTGRES_PASSWORD=%s\nMLFLOW_DB_PASSWORD=%s\n' "$database" "$mlflow" > secrets/postgres.env
echo "MLFLOW_BACKEND_STORE_URI=postgresql+psycopg://mlflow:$mlflow@postgres:5432/mlflow" > secrets/mlflow.env
echo "SECONDLOOK_SESSION_KEY=$(openssl rand -hex 32)" > secrets/app.env
printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$(openssl rand -hex 10)" "$(openssl rand -hex 24)" > secrets/object-store.env
printf %s "$(openssl rand -hex 32)" > secrets/auth_token
