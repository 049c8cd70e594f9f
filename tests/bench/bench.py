#!/usr/bin/python3
"""usbpush measured in the lab, beside what a user would pick instead. Called by `run`, which has the options' meaning."""
import argparse
import contextlib
import datetime
import os
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

import parts  # noqa: E402
import report  # noqa: E402
from product import Product  # noqa: E402
from usbpush_lab import Lab  # noqa: E402

MEASURES = {
    "plug": lambda product, rows, o: parts.measure_plugs(product, o.repeats, rows),
    "tty": lambda product, rows, o: parts.measure_tty(product, rows=rows, n=o.repeats, size=(64 if o.quick else 256) * 1024),
    "disk": lambda product, rows, o: parts.measure_disk(product, 2 if o.quick else o.repeats, rows, (4 if o.quick else 16) << 20),
    "idle": lambda product, rows, o: parts.measure_idle(product, rows, 8, 30 if o.quick else 120),
    "many": lambda product, rows, o: parts.measure_many(product, rows, (1, 8) if o.quick else (1, 8, 30, 60), 1 if o.quick else 3),
}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run")
    parser.add_argument("--quick", action="store_true", help="a few repeats of each: whether it works, not how fast it is")
    parser.add_argument("--only", metavar="PART[,PART]", help="of " + ", ".join(MEASURES))
    parser.add_argument("--repeats", type=int, metavar="N", help="10, and 4 with --quick")
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent.parent / "build/bench", help="where table and plots go (build/bench)")
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


def main():
    options = parse_arguments()
    rows = parts.Rows()
    with lab_with_product() as product:
        about = report.about(product, options, datetime.datetime.now())
        for name in options.only:
            print(f"==> {name}", flush=True)
            MEASURES[name](product, rows, options)
    options.out.mkdir(parents=True, exist_ok=True)
    print("\n" + report.write(options.out, about, rows))


if __name__ == "__main__":
    main()
