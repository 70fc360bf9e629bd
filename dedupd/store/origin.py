"""What a store was made for, which is the same for all who ever use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What the ids in a store are made from, beside project and token.

    ``identity`` is ``Keys.check``, ``region`` the ``region_name``; a store that was made before
    stores kept it has the region "" until a server opens it.
    """

    identity: str
    region: str

    def refuses(self, made_for: Origin) -> tuple[str, str] | None:
        """Why a store that was made for that one is not to be used for this one, and what to do.

        Under another origin no used token is known, so that it would be carried out again.
        """
        if made_for.identity != self.identity:
            return (
                "it was written with another identity key, under which no used token is known",
                "Put the key file ([seal] key_file) back that it was written with",
            )
        if made_for.region not in ("", self.region):
            why = (
                f"it serves the region {made_for.region} alone, and [DEFAULT] region_name is "
                f"{self.region}, under which no used token is known"
            )
            return why, f"Set region_name = {made_for.region}"
        return None
