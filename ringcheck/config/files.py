"""Types of values that name files and directories. Some must exist, secrets among them; others need not exist."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_IROTH
from typing import TYPE_CHECKING

from ringcheck.config.reader import ValueType, Wrong, text

if TYPE_CHECKING:
    import yaml

    from ringcheck.config.reader import ConfigReader

_CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


@dataclass(frozen=True)
class File(ValueType):
    """The absolute path of a file that exists; if it is secret, not everybody may be able to read it."""

    secret: bool = False
    name = "a file"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The path."""
        file = self._path(reader, node)
        try:
            # A pipe or device is refused: a test whether it can be read would consume its contents.
            if not file.is_file() and file.stat():
                raise Wrong(node, f"{file} is not a regular file")
            with file.open("rb"):
                pass
        except OSError as error:
            raise Wrong(node, f"{file} can't be read: {error.strerror}") from None
        if self.secret:
            refuse_open(file, node)
        return str(file.absolute())

    def _path(self, reader: ConfigReader, node: yaml.Node) -> Path:
        """The path, relative to the configuration; a secret may also be one of systemd's credentials."""
        value = text(node, "a file")
        if "\0" in value:
            raise Wrong(node, f"must be a file, not {value!r}")
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if value.startswith(_CREDENTIALS):
            if not credentials:
                raise Wrong(node, "CREDENTIALS_DIRECTORY is not set: systemd sets it for units with LoadCredential=")
            return Path(credentials) / value.removeprefix(_CREDENTIALS)
        if self.secret and credentials and "/" not in value and (Path(credentials) / value).exists():
            return Path(credentials) / value
        return reader.folder / value


def refuse_open(file: Path, node: yaml.Node) -> None:
    """Refuse a secret file that everybody can read.

    Raises:
        Wrong: if everybody can.
    """
    if file.stat().st_mode & S_IROTH:
        raise Wrong(node, f"{file} is a secret and can be read by everybody: chmod o-r it")


class ExistingDirectory(ValueType):
    """The absolute path of a directory that exists."""

    name = "a directory"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The path."""
        directory = reader.folder / text(node, "a directory")
        if "\0" in str(directory) or not directory.is_dir():
            raise Wrong(node, f"there is no directory {str(directory)!r}: create it, or name another")
        return str(directory.absolute())


class StateFile(ValueType):
    """The absolute path of a file that the service makes; others may be unable to see even its folder."""

    name = "a file, which the service makes"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The path."""
        value = text(node, "a file")
        if "\0" in value or value.endswith("/"):
            raise Wrong(node, f"must be a file, not {value!r}")
        return str((reader.folder / value).absolute())


class NewFile(ValueType):
    """The absolute path of a file that need not exist, in a directory that does."""

    name = "a file, which need not exist"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The path."""
        file = reader.folder / text(node, "a file")
        if "\0" in str(file) or not file.parent.is_dir():
            raise Wrong(node, f"there is no directory {str(file.parent)!r}: create it, or name another")
        return str(file.absolute())
