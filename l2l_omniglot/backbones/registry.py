"""Backbones by name: whatever any installed package registers in our entry-point group."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from l2l_omniglot.errors import BackboneError, check_name

if TYPE_CHECKING:
    from torch import nn

GROUP = "l2l_omniglot.backbones"


@dataclass(frozen=True)
class BackboneEntry:
    """A registered backbone.

    Attributes:
        name: as `--backbone` takes it.
        package: name and version of the distribution it comes from.
        target: ``module:attribute``.
        error: why it does not import; empty where it does.
    """

    name: str
    package: str
    target: str
    error: str = ""


def list_backbones() -> list[BackboneEntry]:
    """Every registered backbone, sorted by name, each tried; a broken one carries its error."""
    entries = []
    for point in _find_all():
        try:
            _load(point)
            error = ""
        except BackboneError as failure:
            error = str(failure)
        entries.append(BackboneEntry(point.name, _package(point), point.value, error))
    return entries


def backbone_names() -> list[str]:
    """The names of every registered backbone, sorted; imports none of them."""
    return [point.name for point in _find_all()]


def make_backbone(
    name: str,
    *,
    ways: int,
    channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    **options: object,
) -> nn.Module:
    """Builds the backbone registered as `name`.

    Args:
        name: see `list_backbones`.
        ways: number of classes.
        channels: of the images.
        image_size: pixels; one number for square images, else (height, width).
        options: further settings, e.g. ``init``; backbones ignore those they do not know.

    Returns:
        A module from float32 (B, channels, H, W) in [0, 1] to logits (B, ways).

    Raises:
        BackboneError: unknown name (lists the known ones), a plugin that does not import,
            refuses the arguments, or returns something else than a module.
    """
    from torch import nn

    point = _find(name)
    factory = _load(point)
    try:
        backbone = factory(ways=ways, channels=channels, image_size=image_size, **options)
    except BackboneError:
        raise
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise BackboneError(
            f"backbone {name!r} of {_package(point)} could not be built with ways={ways}, "
            f"channels={channels}, image_size={image_size}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(backbone, nn.Module):
        raise BackboneError(
            f"backbone {name!r} of {_package(point)} returned {type(backbone).__name__}; "
            "expected a torch.nn.Module"
        )
    return backbone


def check_registered(name: str) -> None:
    """Refuses a name that no package registers; imports none of them.

    Raises:
        BackboneError: unknown name; lists the known ones.
    """
    _find(name)


def package_of(name: str) -> str:
    """Name and version of the distribution that offers a backbone.

    Raises:
        BackboneError: unknown name; lists the known ones.
    """
    return _package(_find(name))


def _find_all() -> list[EntryPoint]:
    # Two distributions may offer one name; the first on the path wins, as with imports.
    by_name: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        by_name.setdefault(point.name, point)
    return [by_name[name] for name in sorted(by_name)]


def _find(name: str) -> EntryPoint:
    points = {point.name: point for point in _find_all()}
    check_name("backbone", name, points, kind=BackboneError)
    return points[name]


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a stranger's module may raise anything on import
        raise BackboneError(
            f"backbone {point.name!r} of {_package(point)} does not import: "
            f"{type(error).__name__}: {error}"
        ) from error


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
