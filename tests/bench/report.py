"""The table of what was measured, as text, as JSON and as plots."""
import json
import os
import platform
import statistics

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

# Of what bigger is better.
RATES = ("kB/s", "MB/s")


def about(product, options, now):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return {"date": now.strftime("%Y-%m-%d"), "repeats": options.repeats, "is_quick": options.quick,
            "machine": f"{os.cpu_count()} cores of {cpu}; the guests by software emulation",
            "pi": product.pi.sh("uname -r"), "vm": product.vm.sh("uname -r"), "version": product.pi.sh("usbpush --version").splitlines()[0]}


def percentile(values, share):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


def summaries(rows):
    for row in rows:
        values = row["values"]
        worst = percentile(values, 1 if row["unit"] in RATES else 99)
        yield {**row, "n": len(values), "median": statistics.median(values), "p99": worst}


def groups(rows):
    """[(part, what), [rows]] in the order in which they were measured."""
    found = {}
    for row in summaries(rows):
        found.setdefault((row["part"], row["what"]), []).append(row)
    return found.items()


def table(about_run, rows):
    lines = [f"{about_run['version']}, {about_run['date']}, kernel {about_run['pi']} (Pi) and {about_run['vm']} (VM), {about_run['machine']}"
             + (" -- quick: too few repeats to compare" if about_run["is_quick"] else "")]
    for (_, what), group in groups(rows):
        lines.append(f"\n{what} ({group[0]['unit'] or 'number'})")
        lines += [f"  {row['road']:36} median {row['median']:10.3f}   p99 {row['p99']:10.3f}   of {row['n']}" for row in group]
    return "\n".join(lines) + "\n"


def plot(path, title, unit, group):
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.45 * len(group)))
    names = [row["road"] for row in reversed(group)]
    axes.barh(names, [row["median"] for row in reversed(group)], color="#4a7ebb")
    axes.plot([row["p99"] for row in reversed(group)], names, "k|", markersize=10, label="p99")
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)
    axes.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def write(directory, about_run, rows):
    """table.txt, results.json and a plot of each comparison. Returns the table."""
    text = table(about_run, rows)
    (directory / "table.txt").write_text(text)
    (directory / "results.json").write_text(json.dumps({"about": about_run, "rows": list(summaries(rows))}, indent=1) + "\n")
    for (part, what), group in groups(rows):
        if len(group) > 1 and part != "idle":
            name = "".join(c if c.isalnum() else "-" for c in f"{part} {what}".lower()).strip("-")
            plot(directory / f"{name}.svg", what, group[0]["unit"], group)
    return text
