"""What a report opens with: which file to take, what it costs and how it stands to others, a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.candidates.candidate import BARE_BACKBONE, MEDIAPIPE_HANDS, network_name
from benchmarks.page.rows import devices, is_pruned, measured
from benchmarks.page.shipped import card_of, on_photographs, photographs
from benchmarks.records.columns import cpu_class, figure, interval, mpjpe_mm, p50_ms
from benchmarks.records.record import Record

# Files that differ by less than this are taken for equally accurate.
SAME_ERROR, SAME_PCK = 1.05, 0.03
NEVER = float("inf")

Files = Mapping[str, list[Record]]  # a file's rows, by its name, at every number of threads
lost_mm = figure("accuracy.delta_vs_fp32_mm")


def whole_files(rows: Iterable[Record], device: str) -> Files:
    """Return the timed files of whole networks on a device, the lightest first."""
    found: dict[str, list[Record]] = {}
    for record in sorted(measured(rows), key=lambda one: one.artifact.gmac or 0):
        if record.kind == "artifact" and record.device.name == device and not is_pruned(record):
            found.setdefault(record.name, []).append(record)
    return found


def fastest(records: Iterable[Record]) -> Record:
    """Return the fastest row; the one of fewer threads where both are as fast."""
    return min(records, key=lambda record: (p50_ms(record) or NEVER, record.runtime.threads or 0))


def recommended(files: Files) -> Record | None:
    """Return the fastest row of all files that are as accurate as the best, or nearly; of equally fast the smallest."""
    rows = [fastest(records) for records in files.values()]
    shares = [facts["boxed"]["pck"] for row in rows if (facts := on_photographs(row))]
    best_mm = min((mpjpe_mm(row) or NEVER for row in rows), default=NEVER)

    def accurate(row: Record) -> bool:
        seen = on_photographs(row)
        placed = seen is None or seen["boxed"]["pck"] >= max(shares) - SAME_PCK
        return placed and (mpjpe_mm(row) or NEVER) <= SAME_ERROR * best_mm

    good = [row for row in rows if accurate(row)]
    latest_ms = min((row.latency_ms.p50_high for row in good if row.latency_ms), default=NEVER)
    as_fast = [row for row in good if row.latency_ms and row.latency_ms.p50_low <= latest_ms]
    return min(as_fast, key=lambda row: row.artifact.bytes or 0, default=None)


def one_per_variant(rows: Sequence[Record]) -> list[str]:
    """Return the names of the files to show of each variant: the one to take first, then each other's fastest."""
    files = whole_files(rows, devices(measured(rows))[0])
    take = recommended(files)
    best = {} if take is None else {take.variant: take.name}
    for row in sorted(map(fastest, files.values()), key=lambda row: p50_ms(row) or NEVER):
        best.setdefault(row.variant, row.name)
    return list(best.values())


def sentences(files: Files) -> list[tuple[str, str]]:
    """Return what each answer is about, and the answer with its figure."""
    take = recommended(files)
    if take is None:
        return []
    found = [(f"Take {file_name(take)}.", _why(take, files)), *_errors(take)]
    if seen := on_photographs(take):
        facts = photographs()
        what = "it" if take.artifact.format in ("onnx", "web") else "int8 as ONNX, of the same weights,"
        placed = f"{what} puts {_percent(seen['boxed']['pck'])} of the joints within a fifth of the hand's size"
        named = f"names the right hands in {_percent(seen['boxed']['presence'])} of {facts['with_hands']} with hands"
        none = f"finds none in {_percent(seen['none_right'])} of {facts['without_hands']} without"
        found.append(("On photographs", f"{placed}, {named}, and {none}."))
    bare = f"{network_name(take.name)} {BARE_BACKBONE}"
    for about, peer, told in (
        ("Beside MediaPipe", MEDIAPIPE_HANDS, "MediaPipe's landmarks of two hands, which are points, no meshes"),
        ("Beside the bare backbone", bare, "its backbone alone in fp32: what is above 1 is the head's"),
    ):
        if peer in take.relative_time:
            found.append((about, f"it takes {interval(take.relative_time[peer])} times as long as {told}."))
    if others := list(_others(take, files)):
        found.append(("Otherwise", f"{'; '.join(others)}."))
    return found


def _why(take: Record, files: Files) -> str:
    kind = cpu_class(take.device)
    threads, stages = take.runtime.threads, take.stages_ms
    on = f" on {threads} thread{'s' if threads > 1 else ''}" if threads else ""
    beside = [f" ({_time(row)} on 1)" for row in files[take.name] if row.runtime.threads == 1 and row is not take]
    whole = f", {stages.pre + stages.infer + stages.post:.1f} ms from picture to meshes" if stages else ""
    rule = (
        f"as accurate as the best, within {_percent(SAME_ERROR - 1)}"
        if mpjpe_mm(take)
        else "timed (how accurate they are was not measured)"
    )
    here = f"On this {kind} machine" if kind else "On this machine"
    spent = f"{_time(take)}{on}{''.join(beside)}{whole}"
    return f"{here} it takes {spent}: the fastest of the files that are {rule}."


def _errors(take: Record) -> Iterator[tuple[str, str]]:
    accuracy, card, lost = take.accuracy, card_of(take), lost_mm(take)
    if accuracy is None or accuracy.mpjpe_mm is None:
        return
    made = ": rendered hands, no photographs" if accuracy.synthetic else ""
    loss = f", {lost:+.2f} mm against its fp32 file" if lost is not None else ""
    same = card is not None and card["accuracy"]["dataset"] == accuracy.dataset
    blind = f"; a mean pose that never looks is {card['mean_pose_mpjpe_mm']:.1f} mm off" if card and same else ""
    about = "In synthetic millimetres" if accuracy.synthetic else "In millimetres"
    yield about, f"its joints are {accuracy.mpjpe_mm:.1f} mm off{loss} ({accuracy.dataset}{made}){blind}."


def _others(take: Record, files: Files) -> Iterator[str]:
    rows = [fastest(records) for records in files.values()]
    best = min(rows, key=lambda row: mpjpe_mm(row) or NEVER)
    for what, row in (("the fastest is", fastest(rows)), ("the most accurate is", best)):
        if row.name != take.name:
            off = f"{mpjpe_mm(row):.1f} mm off in " if mpjpe_mm(row) else ""
            yield f"{what} {file_name(row)}, {off}{_time(row)}"


def file_name(record: Record) -> str:
    """Return how a row's file is called on the disk, with the engine that ran it where that is not onnxruntime."""
    path, engine = record.artifact.path or record.name, record.runtime.name
    return path.rpartition("/")[2] + ("" if engine == "onnxruntime" else f" ({engine})")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _time(row: Record) -> str:
    """Return `1.26 ms`, or where the row doubts itself also between what its median lies."""
    latency = row.latency_ms
    if latency is None:
        return "-"
    p50, low, high = (f"{ms:.{1 if ms >= 10 else 2}f}" for ms in (latency.p50, latency.p50_low, latency.p50_high))
    return f"about {p50} ms ({low} to {high} in a noisy run)" if row.doubtful else f"{p50} ms"
