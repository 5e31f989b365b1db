"""Settings of where uploads are kept."""

from pydantic import Field, SecretStr

from transcription.settings.section import Part


class Blobs(Part):
    """Where uploads are kept, and how they get to workers on other hosts."""

    url: str = Field(
        "",
        pattern=r"^(|s3://.+|https?://.+)$",
        description="`s3://bucket/folder`, or, for workers only, the API's URL. Default: the data directory.",
    )
    endpoint: str = Field("", description="URL of an S3-compatible server other than Amazon's.")
    secret: SecretStr | None = Field(
        None, min_length=16, description="Signs links to audio on the API. Default: no links."
    )
    cache_bytes: int = Field(10 << 30, ge=0, description="Disk space for local copies of remote audio.")

    def signing_key(self) -> str:
        """The secret. ValueError: there is none."""
        if self.secret is None:
            raise ValueError("MURMUR_BLOBS__URL is an API's, so MURMUR_BLOBS__SECRET must be set, to the API's own")
        return self.secret.get_secret_value()
