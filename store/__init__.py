"""What persists: SQL, images, Parquet snapshots, the audit log, MLflow tracking and registry."""
