"""The table of what was measured, as text, as JSON and as plots; and the ratios that usbpush promises."""
import json
import os
import platform

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

import plugs  # noqa: E402
import roads  # noqa: E402
from rows import RATES  # noqa: E402

# Of which there are plots: comparisons of roads.
PLOTTED = ("plug", "return", "tty", "disk")

TUNNEL, DIRECT, STOCK, SSH = roads.Tunnel.name, roads.Direct.name, roads.Stock.name, roads.StockThroughSsh.name
DISK = ("written to the disk", "read from the disk")
ECHOES = tuple(f"round trip of {n} bytes" for n in (1, 64, 512))
# (what, ours, theirs, "<=" or ">=", bound): the medians' ratio.
PROMISED = (
    [(plugs.PLUG, TUNNEL, plugs.FLOOR, "<=", 1.10), (plugs.UNPLUG, TUNNEL, STOCK, "<=", 1.20), (plugs.AGAIN, TUNNEL, plugs.FLOOR, "<=", 1.10)]
    + [(what, DIRECT, STOCK, "<=", 1.02) for what in ECHOES] + [(what, DIRECT, STOCK, ">=", 0.98) for what in DISK]
    + [(what, TUNNEL, SSH, "<=", 1.0) for what in ECHOES] + [(what, TUNNEL, SSH, ">=", 1.0) for what in DISK]
    + [(what, TUNNEL, DIRECT, ">=", 0.7) for what in DISK])


def about(product, options, now):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return {"date": now.strftime("%Y-%m-%d"), "repeats": options.repeats, "is_quick": options.quick,
            "machine": f"{os.cpu_count()} cores of {cpu}; the guests by software emulation",
            "pi": product.pi.sh("uname -r"), "vm": product.vm.sh("uname -r"), "version": product.pi.sh("usbpush --version").splitlines()[0]}


def ratios(rows):
    for what, ours, theirs, comparison, bound in PROMISED:
        a, b = rows.median(what, ours), rows.median(what, theirs)
        if a is not None and b:
            yield {"what": what, "ours": ours, "theirs": theirs, "ratio": a / b, "wanted": f"{comparison} {bound:.2f}",
                   "is_kept": a / b <= bound if comparison == "<=" else a / b >= bound}
    one, sixty = rows.median(plugs.PLUG, plugs.FLOOR), rows.median("60 at once -> all attached", TUNNEL)
    if one and sixty:
        yield {"what": "60 at once -> all attached", "ours": TUNNEL, "theirs": f"60 times the {plugs.FLOOR}", "ratio": sixty / 60 / one,
               "wanted": "<= 1.00", "is_kept": sixty <= 60 * one}
    first, last = (rows.median(f"one more with {n} there -> tty", TUNNEL) for n in (0, 59))
    if first and last:
        yield {"what": "one more with 59 there -> tty", "ours": TUNNEL, "theirs": "the first", "ratio": last / first, "wanted": "<= 1.20",
               "is_kept": last / first <= 1.2}


def table(about_run, rows):
    lines = [f"{about_run['version']}, {about_run['date']}, kernel {about_run['pi']} (Pi) and {about_run['vm']} (VM), {about_run['machine']}"
             + (" -- quick: too few repeats to compare" if about_run["is_quick"] else "")]
    for (_, what), group in rows.groups():
        lines.append(f"\n{what} ({group[0]['unit'] or 'number'})")
        lines += [f"  {row['road']:36} median {row['median']:10.3f}   p99 {row['p99']:10.3f}   of {row['n']}" for row in group]
    promised = [f"  {r['what']:36} {r['ours']} / {r['theirs']}: {r['ratio']:.2f}, wanted {r['wanted']}{'' if r['is_kept'] else ': NOT KEPT'}"
                for r in ratios(rows)]
    return "\n".join(lines + (["\nratios of medians", *promised] if promised else [])) + "\n"


def plot(path, title, unit, group):
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.45 * len(group)))
    names = [row["road"] for row in reversed(group)]
    axes.barh(names, [row["median"] for row in reversed(group)], color="#4a7ebb")
    axes.plot([row["p99"] for row in reversed(group)], names, "k|", markersize=10, label="p99")
    axes.set_xlim(left=0)
    axes.set_xlabel(unit + (" (more is better)" if unit in RATES else ""))
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write(directory, about_run, rows, finished):
    """table.txt, results.json and a plot of each comparison."""
    (directory / "table.txt").write_text(table(about_run, rows))
    results = {"about": about_run, "rows": list(rows.summaries()), "ratios": list(ratios(rows)), "finished": finished}
    (directory / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for (part, what), group in rows.groups():
        if len(group) > 1 and part in PLOTTED:
            name = "".join(c if c.isalnum() else "-" for c in f"{part} {what}".lower()).strip("-")
            plot(directory / f"{name}.svg", what, group[0]["unit"], group)
