"""Simulate the products of ``job.json`` with DeltaMoE and write ``result.json``.

The three programs of this kind measure alike: processor time from after the imports to the total
of the cycles, and the most memory that the process ever had.
"""

import json
import resource
import time
from dataclasses import replace
from pathlib import Path

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.outline import Outline, facts

if __name__ == "__main__":
    began = time.process_time()
    job = json.loads(Path("job.json").read_text("utf-8"))
    config = replace(MODELS[job["model"]], num_layers=job["blocks"])
    program = compile_program(Outline(config), PRESETS[job["hardware"]])
    cycles = simulate(program, facts(config, 0), MemoryModel(job["latency"])).cycles
    Path("result.json").write_text(json.dumps({
        "seconds": time.process_time() - began, "cycles": cycles,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
