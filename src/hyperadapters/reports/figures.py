"""Figures as data: points by series, before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperadapters._utils import numbered, slug


@dataclass(frozen=True)
class Mark:
    """A point of a figure."""

    x: float
    y: float
    tip: str
    """What hovering over it shows, line by line."""
    size: float = 7.0
    """Diameter in points."""
    margin: tuple[float, float] | None = None
    """Length of the error bar, or of the line's band, below and above, in units of y."""


@dataclass(frozen=True)
class Figure:
    """Points by series: joined, with a legend, or apart, with the name of their series beside them."""

    title: str
    series: Mapping[str, Sequence[Mark]]
    x_title: str
    y_title: str
    log_x: bool = False
    joined: bool = True
    caption: str = ""
    sizes: tuple[tuple[float, str], ...] = ()
    """What the size of points says: diameters in points, each with what it stands for."""
    sizes_title: str = ""
    number: int = 1
    """Counts the figures whose titles give one name."""

    @property
    def name(self) -> str:
        """A name for files and identifiers."""
        return numbered(slug(self.title.replace("++", "-pp")), self.number)

    @property
    def marks(self) -> list[Mark]:
        """All points, series by series."""
        return [mark for marks in self.series.values() for mark in marks]
