"""Settings of encryption at rest."""

from pydantic import Field

from transcription.settings.section import Part


class Encryption(Part):
    """Whether stored recordings, decoded sound and backups are encrypted, and with whose keys."""

    key_file: str = Field(
        "",
        description="File of master keys, a line each: a name and 32 bytes in base64; the first encrypts. Empty: off.",
    )
    accept_plain: bool = Field(
        False,
        description=(
            "Take results and backups too that aren't encrypted, from before encryption was turned on. Nothing shows "
            "then whether somebody else has put them there."
        ),
    )
    provider: str = Field(
        "",
        pattern=r"^(|[\w.]+:\w+)$",
        description="`package.module:factory` of a key provider, as for a KMS, in place of the key file.",
    )
