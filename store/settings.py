"""Settings, read once from the environment by whoever starts: the CLI, a DVC stage, a replica.

``SECONDLOOK_HOME`` holds everything a running system writes. Each part has a URL that moves it
to a server when one machine is not enough. Nothing here makes a directory or opens a connection.
"""

from __future__ import annotations

import base64
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from loop.agreement import AgreementSettings
from loop.desk_core import DeskSettings
from loop.drift import MIN_IMAGES
from loop.errors import InvalidInput, Misconfigured
from loop.events import Actor, Authentication, Role
from loop.gate_settings import GateSettings
from loop.retention import LEAST_DOCUMENT_DAYS, RetentionSettings
from loop.sessions import SignInSettings
from loop.signed_notes import KeyType, VerifierKey
from loop.witnessing import WitnessAddress
from store.log_role import LogRole

_KEY_BYTES = 32
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# The address of a server, without a path, and without who signs in there: requests carry a token.
_HTTP = r"^(https?://(\[[0-9A-Fa-f:.]+\]|[^/?#\s@:\[\]]+)(:[0-9]{1,5})?)?/?$"


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
    # Where the API and the dashboard of Ray are reached, if not on this machine at these ports.
    api_at: str = Field("", validation_alias="SECONDLOOK_API_URL", pattern=_HTTP)
    dashboard_at: str = Field("", validation_alias="SECONDLOOK_DASHBOARD_URL", pattern=_HTTP)

    # What the command line and the app send to the API. Empty: the home's own key.
    api_key: SecretStr = SecretStr("")
    # Whether programs on this machine need no key, where `host` is a loopback address.
    api_open_on_loopback: bool = False

    model_name: str = "detector"
    # PEM files, or PEM itself. None: the home makes a key of its own, and trusts that. See
    # store/model_keys.py.
    model_signing_key: Path | SecretStr | None = None
    # Public keys, ":" between them, that are trusted instead: what else is signed is not loaded.
    model_verify_keys: Annotated[tuple[Path | str, ...], NoDecode] = ()
    # Detections below this are not shown to anyone: the usual floor for a person to look at.
    min_confidence: float = Field(0.25, ge=0, le=1)
    nms_iou: float = Field(0.6, ge=0, le=1)
    # 32 MiB holds a 12-megapixel PNG; 50 megapixels decode to 150 MB.
    max_image_bytes: int = Field(32 * 1024 * 1024, gt=0)
    max_image_pixels: int = Field(50_000_000, gt=0)
    # Of a ZIP with a data set that an engineer brings in over the app.
    max_import_bytes: int = Field(4 * 1024**3, gt=0)
    # Processes that detect, each with a model of its own.
    replicas: int = Field(1, gt=0)
    # More than `replicas`: Serve starts as many as keep each at `replica_target` images.
    max_replicas: int = Field(0, ge=0)
    replica_target: float = Field(8, gt=0)
    # CPUs that a replica reserves. With 0, training on the same small machine still finds some.
    serve_cpus: float = Field(0, ge=0)
    # Share of a GPU that a replica reserves; several replicas can have a part of one.
    serve_gpus: float = Field(0, ge=0)
    # How long fewer replicas must do until one more than `replicas` ends.
    replica_idle_seconds: float = Field(600, gt=0)
    # A resource of nodes (`ray start --resources='{"NAME": 4}'`), of which a replica takes 1: on no
    # other node does one start. Empty: wherever there is room. See docs/cluster.md.
    serve_resource: str = Field("", pattern=r"^[\w.:/-]*$")
    # Whether each node with a replica takes requests, or the head alone. With it, detection goes on
    # while the head is away: put a load balancer before the nodes. See docs/cluster.md.
    api_on_every_node: bool = False
    # Images inside a replica at once; others get 429. 0: what suits the engine.
    replica_room: int = Field(0, ge=0)
    # How long an image may take, and after how long the engine is taken to be stuck.
    request_seconds: float = Field(30, gt=0)
    stuck_seconds: float = Field(90, gt=0)
    # How many of the last images each replica compares with what its model detected on the gold
    # set. 0: none, and nothing is said of drift.
    drift_images: int = Field(1000, ge=0)
    # Whether what is detected and not stored (POST /v1/detect) is in the audit log.
    log_detections: bool = True
    # Whether HTTP goes to the replicas through HAProxy, or through Serve's own proxy.
    haproxy: bool = True
    # Requests up to this size are kept until they are answered, and sent to another replica if
    # theirs was killed. HAProxy copies so many bytes for every request, however small it is.
    kept_request_bytes: int = Field(2**20, ge=2**14, le=2**26)

    # Where a machine keeps what it measured and made of models for itself. None: HOME/cache/, in a
    # folder with the machine's name, since several may share the home.
    machine_cache: Path | None = None

    # How long a case is held for who opened it; the page renews it every 30 s.
    lease_seconds: float = Field(300, gt=0)
    # How many of the cases that are taken are drawn by lot, whatever the order.
    random_share: float = Field(0.1, ge=0, le=1)

    match_iou: float = Field(0.0, ge=0, lt=1)
    agreement_ciou: float = Field(0.5, ge=-1, le=1)
    high_confidence: float = Field(0.75, ge=0, le=1)
    # What the gate asks of a candidate: loop/gate_settings.py says what each of them is.
    min_gain: float = Field(0.0, ge=-1, le=1)
    min_gain_50: float = Field(0.0, ge=-1, le=1)
    # What the champion itself may lose in INT8, of mAP50-95 and of mAP50.
    int8_margin: float = Field(0.01, ge=0, le=1)
    max_class_loss: float = Field(0.1, ge=0, le=1)
    max_latency_factor: float = Field(1.5, gt=0)
    min_gold_images: int = Field(10, gt=1)
    gate_alpha: float = Field(0.05, gt=0, lt=0.5)
    gate_uses: int = Field(10, gt=0)
    gate_replicates: int = Field(4000, ge=200, le=100_000)
    # How many different people must approve a candidate before it can be promoted.
    approvers: int = Field(1, gt=0, le=9)

    # What pseudonyms of subjects are made with: 32 bytes, in hex or base64. Empty: the home's own.
    # All processes of an installation need the same.
    subject_key: SecretStr = SecretStr("")

    # Where people reach the app, when that is not http://HOST:UI_PORT: behind a proxy with TLS.
    public_url: str = Field("", pattern=_HTTP)
    # Several app servers of one home share it. Otherwise the home makes its own.
    session_key: SecretStr = SecretStr("")
    session_idle_hours: float = Field(12, gt=0)
    session_days: float = Field(7, gt=0)
    password_sign_in: bool = True
    sign_in_attempts: int = Field(5, gt=0)
    lockout_minutes: float = Field(15, gt=0)
    link_hours: float = Field(24, gt=0)  # one-time links of new people

    # Sign-in by OpenID Connect, at this provider. Empty: none.
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_name: str = "your organisation"  # on the button
    oidc_scopes: str = "openid profile email"
    # The claim with a person's roles here, read at each sign-in. Empty: admins give roles here.
    oidc_roles_claim: str = "roles"
    # For whom the provider names no role. None: they are not let in.
    oidc_default_role: Role | None = None

    # Whether base weights that params.yaml names may be fetched from Ultralytics' releases.
    allow_downloads: bool = True

    # Whether images on which a training's models are most wrong are drawn into its MLflow run.
    log_examples: bool = True

    # Who cosigns the audit log's checkpoints, as "URL KEY", ";" between them. Empty: nobody, and
    # the log may be set back or forked unnoticed. See docs/audit-witness.md.
    audit_witnesses: Annotated[tuple[WitnessAddress, ...], NoDecode] = ()

    # The time-stamping authority (RFC 3161) that stamps the log's checkpoints, a PEM file with the
    # roots that its certificates must lead to, and how often at most. See docs/audit-log.md.
    audit_tsa_url: str = Field("", pattern=r"^(https?://[^/?#\s]\S*)?$")
    audit_tsa_roots: Path | None = None
    audit_tsa_hours: float = Field(24, gt=0, le=24 * 366)

    # Where the app runs trainings. None: the home's own workspace, or the folder it is started in.
    workspace: Path | None = None
    # The MLflow run of the training that a stage takes up instead of beginning a new one.
    resume: str = ""
    # The job of Ray that this process belongs to, which sets it.
    job: str = Field("", pattern=r"^[0-9A-Za-z._:-]{0,64}$")

    # The name of a new audit log, best a name of your own on the internet without https://, as
    # example.org/second-look: it stands in each checkpoint and in the public key.
    audit_origin: str = Field("", pattern=r"^[^\s+]*$", max_length=200)
    # Whether this process has the log's files: store/log_role.py.
    audit_log: LogRole = LogRole.AUTO
    # The log's public key (name+id+base64), for who reads the log's copy in the bucket. Empty: the
    # first one that is found there is kept, and no other is believed from then on.
    audit_key: str = ""

    # How many days records are kept: loop/retention.py has the law's least, and refuses less.
    log_retention_days: int = LEAST_DOCUMENT_DAYS
    document_retention_days: int = LEAST_DOCUMENT_DAYS
    # 0: images and what people said of them are kept until somebody erases them.
    image_retention_days: int = 0

    # Who acts when the command line does: a pseudonym, never a name.
    actor: str = Field("operator", min_length=1, max_length=128)
    # How that was made sure of: the app says here who asked it for a training.
    actor_authenticated_by: Authentication = Authentication.OPERATING_SYSTEM
    # INFO: a line a request. WARNING: only of those that are refused or fail. ERROR: only failures.
    log_level: Annotated[str, NoDecode] = "INFO"

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Ray and DVC change the working directory of what they start.
        return home.expanduser().absolute()

    @field_validator("model_verify_keys", mode="before")
    @classmethod
    def _split(cls, paths: object) -> object:
        each = paths.split(os.pathsep) if isinstance(paths, str) else paths
        if not isinstance(each, list | tuple):
            return paths
        return tuple(_pem(text) or Path(text).expanduser().absolute() for text in each if text)

    @field_validator("model_signing_key", mode="before")
    @classmethod
    def _file_or_pem(cls, value: object) -> object:
        if isinstance(value, str) and (text := _pem(value)):
            return SecretStr(text)
        return (
            Path(value).expanduser().absolute()
            if value and isinstance(value, str | Path)
            else (value or None)
        )

    @field_validator("subject_key")
    @classmethod
    def _of_32_bytes(cls, key: SecretStr) -> SecretStr:
        if text := key.get_secret_value():
            key_bytes(text)
        return key

    @field_validator("audit_witnesses", mode="before")
    @classmethod
    def _witnesses(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            found = [WitnessAddress.parse(each) for each in text.split(";") if each.strip()]
        except InvalidInput as error:
            raise ValueError(f"{error.message} {error.hint}".strip().rstrip(".")) from error
        if len({each.key for each in found}) < len(found):
            raise ValueError("a witness is named twice")
        return tuple(found)

    @field_validator("audit_key")
    @classmethod
    def _public_key(cls, text: str) -> str:
        try:
            if text and VerifierKey.parse(text).type is not KeyType.LOG:
                raise ValueError("that is no key of a log")
        except InvalidInput as error:
            raise ValueError(error.message.rstrip(".")) from error
        return text.strip()

    @field_validator("workspace", "machine_cache", "audit_tsa_roots", mode="before")
    @classmethod
    def _absolute_if_any(cls, path: Path | str | None) -> Path | None:
        return Path(path).expanduser().absolute() if path else None

    @field_validator("drift_images")
    @classmethod
    def _enough(cls, images: int) -> int:
        if 0 < images < MIN_IMAGES:
            raise ValueError(f"fewer than {MIN_IMAGES} differ by chance; 0 compares none")
        return images

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in _LOG_LEVELS:
            raise ValueError(f"there is no level {level!r}; there are {', '.join(_LOG_LEVELS)}")
        return level.upper()

    @field_validator("oidc_default_role", mode="before")
    @classmethod
    def _for_people(cls, role: object) -> object:
        if role == Role.SYSTEM:
            raise ValueError("this role is not for people")
        return role or None

    def acting(self, role: Role, by: str = "") -> Actor:
        """Whoever runs this process, in ``role``; ``by`` is another pseudonym that they gave."""
        return Actor(by or self.actor, role, self.actor_authenticated_by)

    @property
    def database(self) -> str:
        """SQLAlchemy URL: SQLite in the home unless ``SECONDLOOK_DATABASE_URL`` says otherwise."""
        return self.database_url or f"sqlite:///{self.home / 'secondlook.db'}"

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def imports(self) -> Path:
        """Data sets on their way in over the app: nothing in it outlives its import."""
        return self.home / "imports"

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
        """Model versions fetched from the registry, each a folder."""
        return self.home / "models"

    @property
    def own_cache(self) -> Path:
        """Of this machine alone: other ones have other cores, and other folders."""
        return self.machine_cache or self.home / "cache" / socket.gethostname()

    @property
    def plans(self) -> Path:
        """How models use this machine's cores, as measured: `detector.plan`."""
        return self.own_cache / "plans.json"

    @property
    def export_cache(self) -> Path:
        """Exports of versions that were registered without: `detector.export_cache`."""
        return self.own_cache / "exports"

    @property
    def run_dir(self) -> Path:
        """Process ids and logs of what ``secondlook up`` started."""
        return self.home / "run"

    @property
    def api_url(self) -> str:
        """No slash at the end."""
        return self.api_at.rstrip("/") or f"http://{self.host}:{self.api_port}"

    @property
    def dashboard_url(self) -> str:
        """Ray's, where jobs are handed in and Serve is told what to run; no slash at the end."""
        return self.dashboard_at.rstrip("/") or f"http://{self.host}:{self.dashboard_port}"

    @property
    def app_url(self) -> str:
        """Where people open the reviewers' app; no slash at the end."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.ui_port}"

    def welcome_url(self, token: str) -> str:
        """The one-time link with ``token``."""
        return f"{self.app_url}/welcome?token={token}"

    @property
    def sign_in(self) -> SignInSettings:
        return SignInSettings(
            attempts=self.sign_in_attempts,
            lockout=timedelta(minutes=self.lockout_minutes),
            idle=timedelta(hours=self.session_idle_hours),
            lifetime=timedelta(days=self.session_days),
            link=timedelta(hours=self.link_hours),
        )

    @property
    def retention(self) -> RetentionSettings:
        """Raises `Misconfigured` for less than the law's least."""
        return RetentionSettings(
            self.log_retention_days, self.document_retention_days, self.image_retention_days
        )

    @property
    def desk(self) -> DeskSettings:
        return DeskSettings(self.lease_seconds, self.random_share, self.agreement)

    @property
    def agreement(self) -> AgreementSettings:
        return AgreementSettings(self.match_iou, self.agreement_ciou, self.high_confidence)

    @property
    def gate(self) -> GateSettings:
        return GateSettings(
            min_gain=self.min_gain,
            min_gain_50=self.min_gain_50,
            max_class_loss=self.max_class_loss,
            max_latency_factor=self.max_latency_factor,
            min_images=self.min_gold_images,
            alpha=self.gate_alpha,
            planned_uses=self.gate_uses,
            replicates=self.gate_replicates,
            approvers=self.approvers,
        )

    def environment(self) -> dict[str, str]:
        """Variables that make a child process see the same home, wherever it runs; no keys: those
        it has from its own machine (`secondlook keys env`)."""
        hours = str(self.audit_tsa_hours) if self.audit_tsa_url else ""
        # The key itself is a secret, which comes from a machine's own environment.
        signing = str(self.model_signing_key) if isinstance(self.model_signing_key, Path) else ""
        elsewhere = self.audit_log if self.audit_log is LogRole.ELSEWHERE else ""
        if_any = {
            "SECONDLOOK_AUDIT_TSA_URL": self.audit_tsa_url,
            "SECONDLOOK_AUDIT_TSA_ROOTS": str(self.audit_tsa_roots or ""),
            "SECONDLOOK_AUDIT_TSA_HOURS": hours,
            # That it is here is true of one process alone.
            "SECONDLOOK_AUDIT_LOG": elsewhere,
            "SECONDLOOK_AUDIT_KEY": self.audit_key,
            "SECONDLOOK_STORAGE_URL": self.storage_url,
            "SECONDLOOK_AUDIT_WITNESSES": ";".join(map(str, self.audit_witnesses)),
            "SECONDLOOK_MODEL_SIGNING_KEY": signing,
            "SECONDLOOK_MODEL_VERIFY_KEYS": os.pathsep.join(map(str, self.model_verify_keys)),
        }
        return {
            "SECONDLOOK_HOME": str(self.home),
            "SECONDLOOK_DATABASE_URL": self.database,
            "MLFLOW_TRACKING_URI": self.tracking,
        } | {name: value for name, value in if_any.items() if value}


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
        # A secret is never repeated, right or wrong.
        secret = variable.endswith(("_KEY", "_SECRET", "_URL"))
        value = "" if secret else f"={os.environ.get(variable, '')!r}"
        raise Misconfigured(
            f"{variable}{value}: {first['msg']}.",
            hint=f"Correct {variable} in the environment, or unset it for the default.",
        ) from error


def key_bytes(text: str) -> bytes:
    """A key of 32 bytes, in hex or base64. Raises `ValueError`, without the text."""
    try:
        found = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, validate=True)
    except ValueError:
        found = b""
    if len(found) != _KEY_BYTES:
        raise ValueError(f"a key is {_KEY_BYTES} bytes, in hex or base64")
    return found


def _pem(text: object) -> str:
    """The text, if it is PEM; it may be in one line, with ``\\n`` for the ends of its own."""
    if not isinstance(text, str) or not text.lstrip().startswith("-----BEGIN"):
        return ""
    return text.strip().replace("\\n", "\n") + "\n"
