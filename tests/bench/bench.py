#!/usr/bin/python3
"""usbpush measured in the lab, beside what a user would pick instead. Called by `run`, which has the options' meaning."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import sys
import traceback

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import crowd  # noqa: E402
import footprint  # noqa: E402
import plugs  # noqa: E402
import report  # noqa: E402
import rows as measured  # noqa: E402
import streams  # noqa: E402
from product import Product  # noqa: E402
from usbpush_lab import Lab  # noqa: E402

MEASURES = {
    "plug": plugs.measure_plugs,
    "reset": plugs.measure_reenumerations,
    "return": plugs.measure_returns,
    "tty": streams.measure_tty,
    "disk": streams.measure_disk,
    "idle": footprint.measure_idle,
    "cpu": footprint.measure_cpu,
    "size": footprint.measure_sizes,
    "many": crowd.measure_many,
}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run")
    parser.add_argument("--quick", action="store_true", help="a few repeats of each: whether it works, not how fast it is")
    parser.add_argument("--only", metavar="PART[,PART]", help="of " + ", ".join(MEASURES))
    parser.add_argument("--repeats", type=int, metavar="N", help="10, and 4 with --quick")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent.parent / "build/bench", help="where table and plots go (build/bench)")
    parser.add_argument("--continue", dest="is_continued", action="store_true", help="keep what DIR has of the same machine and version")
    options = parser.parse_args()
    options.repeats = options.repeats or (4 if options.quick else 10)
    options.only = options.only.split(",") if options.only else list(MEASURES)
    if unknown := set(options.only) - set(MEASURES):
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(MEASURES)}")
    if options.repeats < 2:
        parser.error("--repeats: 2 at least")
    return options


@contextlib.contextmanager
def lab_with_product():
    lab = Lab()
    lab.up(fresh=True)
    try:
        lab.pi.install(os.environ["USBPUSH_PI_DEB"])
        lab.vm.install(os.environ["USBPUSH_VM_DEB"])
        product = Product(lab)
        product.pair()
        product.wait_link("UP")
        yield product
    finally:
        lab.down()


def take_up(options, about):
    """What a run before this one has finished there: (rows, names of the parts)."""
    rows, path = measured.Rows(), options.out / "results.json"
    if not options.is_continued or not path.exists():
        return rows, []
    results = json.loads(path.read_text())
    for key in about.keys() - {"date"}:
        if results["about"][key] != about[key]:
            sys.exit(f"tests/bench/run: --continue: {path} is of another run ({key}: {results['about'][key]}, now {about[key]})."
                     " Remove it, or give another --out.")
    rows.extend(row for row in results["rows"] if row["measure"] in results["finished"])
    return rows, results["finished"]


def main():
    options = parse_arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    with lab_with_product() as product:
        about = report.about(product, options, datetime.datetime.now())
        rows, finished = take_up(options, about)
        for name in [name for name in options.only if name not in finished]:
            print(f"==> {name}", flush=True)
            rows.measure = name
            try:
                MEASURES[name](product, rows, options)
                finished.append(name)
            except Exception:  # what the others measure is of use all the same
                failed.append(name)
                traceback.print_exc()
                product.lab.wire.heal()
                product.lab.unplug_all()
            report.write(options.out, about, rows, finished)  # what there is so far: a run takes long
    print("\n" + report.table(about, rows))
    if failed:
        sys.exit(f"tests/bench/run: failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
