"""Simulate the products of ``job.json`` with SCALE-Sim and write ``result.json``.

Runs in SCALE-Sim's own environment. A systolic array with stationary weights; traces are simulated
but not written, which the class can and its command line cannot.
"""

import configparser
import csv
import json
import resource
import time
from pathlib import Path

from scalesim.scale_sim import scalesim


def settings(job: dict) -> dict[str, dict[str, object]]:
    """Return the configuration, all of whose keys SCALE-Sim asks for."""
    banks = {f"{operand}{key}": value for operand in ("Ifmap", "Filter") for key, value in (
        ("CustomLayout", False), ("SRAMBankBandwidth", 10), ("SRAMBankNum", 10),
        ("SRAMBankPort", 2))}
    return {
        "general": {"run_name": "run"},
        "architecture_presets": {
            "ArrayHeight": job["rows"], "ArrayWidth": job["columns"],
            "IfmapSramSzkB": job["kib"], "FilterSramSzkB": job["kib"],
            "OfmapSramSzkB": job["kib"], "IfmapOffset": 0, "FilterOffset": 10_000_000,
            "OfmapOffset": 20_000_000, "Dataflow": "ws", "ReadRequestBuffer": 64,
            "WriteRequestBuffer": 64, "Bandwidth": ",".join([str(job["bytes_per_cycle"])] * 3)},
        "layout": banks,
        "sparsity": {"SparsitySupport": "false"},
        "run_presets": {"InterfaceBandwidth": "USER", "UseRamulatorTrace": False},
    }


def write(job: dict) -> None:
    """Write what SCALE-Sim reads."""
    config = configparser.ConfigParser()
    config.read_dict(settings(job))
    with open("scale.cfg", "w", encoding="utf-8") as file:
        config.write(file)
    lines = [f"{gemm['name']},{gemm['m']},{gemm['n']},{gemm['k']}," for gemm in job["gemms"]]
    Path("layers.csv").write_text("\n".join(["Layer,M,N,K,", *lines]) + "\n")
    ones = ",".join("1" * 6 + "0" * 6 + "1" * 6)
    lines = [f"{gemm['name']},{ones}," for gemm in job["gemms"]]
    Path("layout.csv").write_text("\n".join(["Layer,", *lines]) + "\n")


if __name__ == "__main__":
    began = time.process_time()
    job = json.loads(Path("job.json").read_text("utf-8"))
    write(job)
    scalesim(save_disk_space=True, verbose=False, config="scale.cfg", topology="layers.csv",
             layout="layout.csv", input_type_gemm=True).run_scale(top_path=".")
    rows = list(csv.reader(Path("run/COMPUTE_REPORT.csv").read_text("utf-8").splitlines()))
    column = [name.strip() for name in rows[0]].index("Total Cycles")
    cycles = [float(row[column]) for row in rows[1:]]
    if len(cycles) != len(job["gemms"]):
        raise ValueError(f"SCALE-Sim reports {len(cycles)} of {len(job['gemms'])} products")
    Path("result.json").write_text(json.dumps({
        "seconds": time.process_time() - began, "cycles": round(sum(cycles)),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
