"""What a race on one problem found."""

MAIN = "1e-06"


def title(result):
    """State a problem in a few words."""
    rows, columns = result["shape"]
    kind = "CSR" if result["sparse"] else result["dtype"]
    penalty = {0.0: "L2", 1.0: "L1"}.get(result["l1_ratio"], "elastic net")
    classes = f", {result['classes']} classes" if result["classes"] > 2 else ""
    return f"{result['name']}: {rows} x {columns} {kind}, {penalty}, C = {result['C']:.3g}{classes}"


def seconds(result, name):
    """Median seconds of a peer to 1e-6, None if it does not reach it."""
    (entry,) = (entry for entry in result["peers"] if entry["name"] == name)
    return seconds_of(entry)


def best_peer(result):
    """Name and seconds of whoever is fastest to 1e-6 apart from ours; None if nobody is."""
    times = {e["name"]: seconds_of(e) for e in result["peers"] if e["name"] != "ours"}
    found = {name: time for name, time in times.items() if time}
    return min(found.items(), key=lambda item: item[1], default=None)


def seconds_of(entry):
    """Median seconds of an entry to 1e-6, None if it does not reach it."""
    reached = entry["reached"][MAIN]
    return reached and reached["seconds"]
