"""Settings, read once from the environment by whoever starts: the CLI, a DVC stage, a replica.

``SECONDLOOK_HOME`` holds everything a running system writes. Each part has a URL that moves it
to a server when one machine is not enough. Nothing here makes a directory or opens a connection.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from loop.agreement import AgreementSettings
from loop.errors import Misconfigured
from loop.promotions import GateSettings


class Settings(BaseSettings):
    """Every setting is ``SECONDLOOK_<NAME>`` in the environment, but for those of other tools."""

    model_config = SettingsConfigDict(env_prefix="SECONDLOOK_", extra="ignore", frozen=True)

    home: Path = Path("var")
    database_url: str = ""
    storage_url: str = ""
    tracking_uri: str = Field("", validation_alias=AliasChoices("MLFLOW_TRACKING_URI"))
    ray_address: str = Field("", validation_alias=AliasChoices("RAY_ADDRESS"))

    host: str = "127.0.0.1"
    api_port: int = 8000
    ui_port: int = 7860
    mlflow_port: int = 5001
    dashboard_port: int = 8265

    model_name: str = "detector"
    # Detections below this are not shown to anyone: the usual floor for a person to look at.
    min_confidence: float = Field(0.25, ge=0, le=1)
    nms_iou: float = Field(0.6, ge=0, le=1)
    # 32 MiB holds a 12-megapixel PNG; 50 megapixels decode to 150 MB.
    max_image_bytes: int = Field(32 * 1024 * 1024, gt=0)
    max_image_pixels: int = Field(50_000_000, gt=0)
    max_batch_size: int = Field(8, gt=0)
    replicas: int = Field(1, gt=0)
    # CPUs that a replica reserves. With 0, training on the same small machine still finds some.
    serve_cpus: float = Field(0, ge=0)

    match_iou: float = Field(0.0, ge=0, lt=1)
    agreement_ciou: float = Field(0.5, ge=-1, le=1)
    high_confidence: float = Field(0.75, ge=0, le=1)
    min_gain: float = 0.0
    max_class_loss: float = Field(0.1, ge=0)
    min_gold_images: int = Field(10, gt=0)

    # Whether base weights that params.yaml names may be fetched from Ultralytics' releases.
    allow_downloads: bool = True

    # Who acts when the command line does: a pseudonym, never a name.
    actor: str = "operator"
    log_level: Annotated[str, NoDecode] = "INFO"

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Ray and DVC change the working directory of what they start.
        return home.expanduser().absolute()

    @property
    def database(self) -> str:
        """SQLAlchemy URL: SQLite in the home unless ``SECONDLOOK_DATABASE_URL`` says otherwise."""
        return self.database_url or f"sqlite:///{self.home / 'secondlook.db'}"

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def tracking(self) -> str:
        """MLflow tracking URI: SQLite in the home unless ``MLFLOW_TRACKING_URI`` says otherwise."""
        return self.tracking_uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps artifacts when tracking is embedded."""
        return self.home / "mlflow" / "artifacts"

    @property
    def model_cache(self) -> Path:
        """Weights fetched from the registry, named by their digest."""
        return self.home / "models"

    @property
    def run_dir(self) -> Path:
        """Process ids and logs of what ``secondlook up`` started."""
        return self.home / "run"

    @property
    def api_url(self) -> str:
        return f"http://{self.host}:{self.api_port}"

    @property
    def agreement(self) -> AgreementSettings:
        return AgreementSettings(self.match_iou, self.agreement_ciou, self.high_confidence)

    @property
    def gate(self) -> GateSettings:
        return GateSettings(self.min_gain, self.max_class_loss, self.min_gold_images)

    def environment(self) -> dict[str, str]:
        """Variables that make a child process see the same home, wherever it runs."""
        return {
            "SECONDLOOK_HOME": str(self.home),
            "SECONDLOOK_DATABASE_URL": self.database,
            "MLFLOW_TRACKING_URI": self.tracking,
        }


def load_settings(home: Path | None = None) -> Settings:
    """Settings from the environment; ``home`` overrides ``SECONDLOOK_HOME``.

    Raises `Misconfigured` and names the variable that is wrong.
    """
    try:
        return Settings(home=home) if home is not None else Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        variable = name if name.isupper() else f"SECONDLOOK_{name.upper()}"
        raise Misconfigured(
            f"{variable}={os.environ.get(variable, '')!r}: {first['msg']}.",
            hint=f"Correct {variable} in the environment, or unset it for the default.",
        ) from error
