"""Device profiles: `python -m targets --list`, `python -m targets --show NAME`."""

from __future__ import annotations

from runtime.errors import CommandParser, run_command
from targets import THIS_MACHINE, Figure, Target, read_target, target_names

HEAD = ("target", "formats", "precisions", "int8 as", "TensorRT", "GB", "int8 GOP/s", "GB/s")


def main(arguments: list[str] | None = None) -> int:
    """Print the table of profiles, or one profile with the source of every number."""
    parser = CommandParser(__doc__ or "")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="all profiles")
    action.add_argument("--show", metavar="NAME", help="one profile (NAME@MODE: in one power mode) with its sources")
    args = parser.parse_args(arguments)
    if args.list:
        print_table([read_target(name) for name in target_names()])
    else:
        print_target(read_target(args.show))
    return 0


def print_table(targets: list[Target]) -> None:
    """Print one line for each. A star marks a number that nobody has verified."""
    rows = [HEAD, *map(row_of, targets)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"{THIS_MACHINE} is a target, too: taken for the nearest of these, by its board or its CPU's instructions")
    print("peaks are dense, bounds and not speeds; * unverified; -- unknown")


def row_of(target: Target) -> tuple[str, ...]:
    """Return a profile's cells."""
    return (
        f"{target.name}@{target.mode}" if target.mode else target.name,
        " ".join(target.formats),
        " ".join(target.precisions),
        target.int8_flavour or "-",
        " ".join(target.tensorrt) or "-",
        *(short(target.peaks.get(name)) for name in ("memory_gb", "int8_gops", "memory_gb_s")),
    )


def short(figure: Figure | None) -> str:
    """Return a number short enough for a table."""
    return "--" if figure is None else f"{figure.value:.5g}{'*' if figure.source.startswith('unverified') else ''}"


def print_target(target: Target) -> None:
    """Print everything a profile says, one fact a line."""
    print(f"{target.name}: {target.description}")
    for name, value in vars(target).items():
        if value and name not in ("name", "description", "absent", "figures", "power_modes"):
            print(f"  {name}: {', '.join(value) if isinstance(value, tuple) else value}")
    if target.power_modes:
        print(f"  power_modes: {', '.join(mode.name for mode in target.power_modes)}")
    for missing, reason in target.absent.items():
        print(f"  no {missing}: {reason}")
    for name, figure in target.peaks.items():
        print(f"  {name}: {figure.value:.5g} ({figure.source})")


if __name__ == "__main__":
    run_command(main)
