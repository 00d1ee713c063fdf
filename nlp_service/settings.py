"""What an operator may turn. Everything bound to a model (thresholds, window, labels) is in its manifest instead."""

from pathlib import Path

from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from nlp_service.encoder import Runtime
from nlp_service.text import MAX_CHARS


class Settings(BaseSettings):
    """Read from the environment (prefix PETITIONS_) or a `.env` file when the caller builds it, never at import."""

    model_config = SettingsConfigDict(env_prefix="PETITIONS_", env_file=".env", extra="ignore", frozen=True)

    model: Path = Field(default=Path("models/current"), description="Model directory, or a pointer file to one")
    shadow: Path | None = Field(
        default=None, description="Model directory of a candidate that reads live traffic beside the model that answers"
    )
    runtime: Runtime = Field(default=Runtime.AUTO, description="auto, onnxruntime or openvino")
    threads: int = Field(default=0, ge=0, description="CPU threads for the model; 0 = all cores")
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 = any free one")
    max_chars: int = Field(default=MAX_CHARS, ge=100, description="Longest petition, in characters")
    max_body_bytes: int = Field(default=4_000_000, ge=1_000, description="Largest request body")
    max_batch: int = Field(default=256, ge=1, description="Most petitions in one request to /v1/classify/batch")
    max_queue: int = Field(default=512, ge=1, description="Petitions that may wait; beyond it 429 with Retry-After")
    store: str = Field(
        default="sqlite:///petitions.db", description="Database: sqlite:///FILE or postgresql://USER@HOST/NAME"
    )
    rules: Path = Field(default=Path("datasets"), description="Directory with places, routing, deadlines and holidays")
    alert_url: HttpUrl | None = Field(
        default=None, description="Where emergencies are posted at once; none: they only stand in lists"
    )
    alert_secret: SecretStr | None = Field(default=None, description="Signs the alerts; needed with an alert URL")
    rate_per_minute: int = Field(default=6_000, ge=1, description="Requests a key (or address) may make in a minute")
    second_readings: float = Field(
        default=0.0, ge=0, le=1, description="Share of the desk's petitions that a second person reads, blind"
    )
    auto_route: bool = Field(
        default=True,
        description="Whether the service lets sure petitions go on by themselves; false: a person sees each first",
    )
    index: Path | None = Field(
        default=None,
        description="Directory that keeps the index of similar petitions between starts; none: built anew at each",
    )
    jobs: Path = Field(default=Path("jobs"), description="Directory with the files of labelling jobs")
    max_job_bytes: int = Field(default=500_000_000, ge=1_000, description="Largest file of a labelling job")
    job_days: int = Field(default=7, ge=1, le=3_650, description="Days until an ended job is removed with its files")
