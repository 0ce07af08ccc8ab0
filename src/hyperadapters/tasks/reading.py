"""How a user's own files are read, where that is not as their endings say."""

import codecs
from dataclasses import dataclass

from hyperadapters._utils import InputError, listed, settings


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a user's own files are read; the defaults suit UTF-8 files whose first line names the columns."""

    columns: tuple[str, ...] = ()
    """The columns of CSV, TSV and TXT files that have no header line, in order; empty: the first line names them."""
    encoding: str = "utf-8"
    """How text files are encoded, as Python calls it: utf-8, cp1252, latin-1, gb18030 …"""
    skip_bad_rows: bool = False
    """Leave out rows that lack cells or values or cannot be read, and say how many; without it they are an error."""

    def __post_init__(self) -> None:
        """Raise InputError for columns that occur twice or have no name, or an encoding that is none of lines."""
        settings.check(self, "reading")
        problems = []
        if any(not name.strip() for name in self.columns):
            problems.append(f"columns {','.join(self.columns)}: one has no name.")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            problems.append(f"columns {','.join(self.columns)}: {', '.join(twice)} occurs twice. Name each once.")
        if not _has_plain_lines(self.encoding):
            problems.append(
                f"encoding {self.encoding!r}: name one that keeps the ends of lines, such as utf-8, cp1252, latin-1 or "
                "gb18030. Convert UTF-16 to UTF-8 (iconv -f UTF-16 -t UTF-8)."
            )
        if problems:
            raise InputError(listed(problems))

    @property
    def is_utf8(self) -> bool:
        """Whether files are in UTF-8, in which a byte order mark may stand first."""
        return codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig")


def _has_plain_lines(encoding: str) -> bool:
    """Return whether a text encoding exists in which a line ends with the one byte that ends it in ASCII."""
    try:
        return "a\n".encode(encoding) == b"a\n"
    except (LookupError, ValueError):  # no such encoding, or one of bytes, such as base64; a name that is none
        return False


AS_USUAL = Reading()
"""UTF-8, columns named by the first line, bad rows refused."""
