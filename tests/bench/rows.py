"""What was measured: rows of {"part", "what", "road", "unit", "values", "measure"}."""
import statistics

# Of what bigger is better.
RATES = ("kB/s", "MB/s")


def percentile(values, share):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


class Rows(list):
    measure = None  # which of the bench's parts is at it

    def add(self, part, what, road, unit, values):
        """Printed at once; joined to what that road has of it already."""
        print(f"  {road:36} {what:48} {statistics.median(values):10.3f} {unit}", flush=True)
        for row in self:
            if (row["part"], row["what"], row["road"]) == (part, what, road):
                row["values"] += values
                return
        self.append({"part": part, "what": what, "road": road, "unit": unit, "values": list(values), "measure": self.measure})

    def summaries(self):
        for row in self:
            values = row["values"]
            worst = percentile(values, 1 if row["unit"] in RATES else 99)
            yield {**row, "n": len(values), "median": statistics.median(values), "p99": worst}

    def groups(self):
        """[(part, what), [rows]] in the order in which they were measured."""
        found = {}
        for row in self.summaries():
            found.setdefault((row["part"], row["what"]), []).append(row)
        return found.items()

    def median(self, what, road):
        """None where it was not measured."""
        return next((statistics.median(row["values"]) for row in self if (row["what"], row["road"]) == (what, road)), None)
