"""Map the products of ``job.json`` with ZigZag and write ``result.json``.

Runs in ZigZag's own environment, on its ``tpu_like`` with the array and the memory of the job.
"""

import json
import logging
import resource
import time
from pathlib import Path

import yaml
import zigzag
from zigzag.api import get_hardware_performance_zigzag

INPUTS = Path(zigzag.__file__).parent / "inputs"


def write(job: dict) -> None:
    """Write what ZigZag reads: columns of weights along one side, the sum along the other."""
    array = yaml.safe_load((INPUTS / "hardware" / "tpu_like.yaml").read_text("utf-8"))
    array["operational_array"]["sizes"] = [job["rows"], job["columns"]]
    for port in array["memories"]["dram"]["ports"]:
        port["bandwidth_min"] = port["bandwidth_max"] = 8 * job["bytes_per_cycle"]
    mapping = yaml.safe_load((INPUTS / "mapping" / "tpu_like.yaml").read_text("utf-8"))[:1]
    mapping[0]["spatial_mapping"] = {"D1": [f"K, {job['rows']}"], "D2": [f"C, {job['columns']}"]}
    layers = [{
        "id": number, "name": gemm["name"], "operator_type": "Gemm",
        "equation": "O[b][k]+=W[k][c]*I[b][c]", "loop_dims": ["B", "K", "C"],
        "loop_sizes": [gemm["m"], gemm["n"], gemm["k"]],
        "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
        "operand_source": {"I": number, "W": number},
    } for number, gemm in enumerate(job["gemms"])]
    for name, content in (("array", array), ("mapping", mapping), ("layers", layers)):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


if __name__ == "__main__":
    began = time.process_time()
    logging.disable(logging.WARNING)
    job = json.loads(Path("job.json").read_text("utf-8"))
    write(job)
    _, cycles, _ = get_hardware_performance_zigzag(
        "layers.yaml", "array.yaml", "mapping.yaml", dump_folder="made",
        loma_show_progress_bar=False)
    Path("result.json").write_text(json.dumps({
        "seconds": time.process_time() - began, "cycles": round(cycles),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
