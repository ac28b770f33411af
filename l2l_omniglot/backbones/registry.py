"""Backbones by name: those that installed packages register in our entry-point group."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from l2l_omniglot.errors import BackboneError, check_choice

if TYPE_CHECKING:
    from torch import nn

GROUP = "l2l_omniglot.backbones"


@dataclass(frozen=True)
class BackboneEntry:
    """A registered backbone.

    Attributes:
        name: the name it is registered by.
        package: name and version of its distribution.
        target: ``module:attribute``.
    """

    name: str
    package: str
    target: str


def list_backbones() -> list[BackboneEntry]:
    """Returns the registered backbones, sorted by name; imports none of them."""
    points = _find_all().values()
    return [BackboneEntry(point.name, _package(point), point.value) for point in points]


def backbone_names() -> list[str]:
    """Returns the names of the registered backbones, sorted; imports none of them."""
    return list(_find_all())


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
        BackboneError: if the name is unknown (lists the known ones), or the plugin does not
            import, refuses the arguments, or returns something other than a module.
    """
    from torch import nn

    point = _find(name)
    factory = _load(point)
    try:
        backbone = factory(ways=ways, channels=channels, image_size=image_size, **options)
    except BackboneError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything
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


def load_backbone(name: str) -> Any:
    """Imports the function or class that builds a backbone.

    Raises:
        BackboneError: if the name is unknown, or it cannot be imported; says what is missing.
    """
    return _load(_find(name))


def check_registered(name: str) -> None:
    """Refuses a name that no package registers; see `package_of`."""
    _find(name)


def package_of(name: str) -> str:
    """Returns name and version of the distribution that registers a backbone; imports nothing."""
    return _package(_find(name))


def _find_all() -> dict[str, EntryPoint]:
    by_name: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        by_name.setdefault(point.name, point)  # the first on the path wins, as with imports
    return dict(sorted(by_name.items()))


def _find(name: str) -> EntryPoint:
    points = _find_all()
    check_choice("backbone", name, points, kind=BackboneError)
    return points[name]


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a plugin may raise anything
        raise BackboneError(
            f"backbone {point.name!r} of {_package(point)} does not import: "
            f"{_missing(point, error) or f'{type(error).__name__}: {error}'}"
        ) from error


def _missing(point: EntryPoint, error: BaseException) -> str:
    """Says which module is missing; empty if none is."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    if f"{point.module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}, which its entry point {point.value!r} names"
    return f"it needs the module {error.name!r}, which is not installed"


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
