"""Device profiles: `python -m targets --list`, `python -m targets --show NAME`."""

from __future__ import annotations

import argparse
import sys

from targets import THIS_MACHINE, Figure, Target, TargetError, load_target, target_names


def main(arguments: list[str] | None = None) -> int:
    """Print the table of profiles, or one profile with the source of every number."""
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="all profiles")
    action.add_argument("--show", metavar="NAME", help="one profile (NAME@MODE: in one power mode) with its sources")
    args = parser.parse_args(arguments)
    try:
        if args.list:
            print_table([load_target(name) for name in (*target_names(), THIS_MACHINE)])
        else:
            print_target(load_target(args.show))
    except TargetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def print_table(targets: list[Target]) -> None:
    """One line each. A star marks a number that nobody has verified."""
    rows: list[tuple[str, ...]] = [
        ("target", "formats", "precisions", "int8 as", "TensorRT", "Python", "GB", "int8 GOP/s", "GB/s")
    ]
    for target in targets:
        peaks = target.peaks
        rows.append(
            (
                f"{target.name}@{target.power_mode.name}" if target.power_mode else target.name,
                " ".join(target.formats),
                " ".join(target.precisions),
                target.int8_flavour or "-",
                " ".join(target.tensorrt) or "-",
                " ".join(target.python) or "-",
                *(cell(figure) for figure in (target.figures.get("memory_gb"), peaks.int8_gops, peaks.memory_gb_s)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print("peaks are dense, a roofline's bounds, not speeds; * unverified; -- unknown")


def cell(figure: Figure | None) -> str:
    """A number short enough for a table."""
    return "--" if figure is None else f"{figure.value:.5g}{'' if figure.verified else '*'}"


def print_target(target: Target) -> None:
    """Everything a profile says, one fact a line."""
    print(f"{target.name}: {target.description}")
    facts = {
        "formats": target.formats,
        "precisions": target.precisions,
        "int8 flavour": target.int8_flavour,
        "int8 sums overflow": "yes, weights keep to 7 bits" if target.int8_saturates else "no",
        "opset at most": target.opset_max,
        "Python": target.python,
        "TensorRT": target.tensorrt,
        "compute capability": target.compute_capability,
        "deployment target": target.deployment_target,
        "power mode": target.power_mode.name if target.power_mode else None,
        "power modes": tuple(mode.name for mode in target.power_modes),
    }
    for name, value in facts.items():
        if value:
            print(f"  {name}: {', '.join(value) if isinstance(value, tuple) else value}")
    for name, reason in target.absent.items():
        print(f"  no {name}: {reason}")
    peaks = target.peaks
    numbers = {**target.figures, **{key: value for key, value in vars(peaks).items() if value is not None}}
    for name, figure in numbers.items():
        print(f"  {name}: {figure.value:.5g} ({figure.source})")


if __name__ == "__main__":
    sys.exit(main())
