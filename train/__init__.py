"""The pipeline's stages, each a module that ``dvc repro`` runs as ``python -m train.<stage>``."""
