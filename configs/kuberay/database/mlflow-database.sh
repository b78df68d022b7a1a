#!/bin/sh
# Run by PostgreSQL's image when its volume is empty: a database for MLflow, with an owner of its own.
set -eu
psql --set=ON_ERROR_STOP=1 --set=password="$MLFLOW_DB_PASSWORD" --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;
SQL
