"""``dedupd key generate``: the file with the keys that protect what is stored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cliff.command import Command

from dedupd import seal
from dedupd.errors import ConfigError

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd


class Generate(Command):
    """Write a new key file, readable by its owner alone; one that is there is never overwritten."""

    app: Dedupd

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        parser.add_argument("file", metavar="FILE", type=Path, help="where; nothing must be there")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write it.

        Raises:
            ConfigError: something is there already, or it cannot be written.
        """
        path: Path = parsed_args.file
        try:
            seal.create(path)
        except FileExistsError:
            raise ConfigError(
                f"{path} is there already and was left as it is: without the keys in it nothing "
                "that they sealed can be read, and used tokens look new. Name another file."
            ) from None
        except FileNotFoundError:
            raise ConfigError(
                f"{path} cannot be written: {path.parent} is not there. Make the directory first."
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}. Name a file in a directory that this "
                "user may write to."
            ) from None
        self.app.stdout.write(
            f"Wrote {path}. Name it in [seal] key_file, on every front and worker, and keep a copy "
            "apart from the database.\n"
        )
