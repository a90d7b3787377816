"""``deltamoe list``: the presets and the policies."""

from scripts.api.catalog import catalog
from scripts.cli import JsonFile, app, command, show


@app.command("list")
@command
def listing(json: JsonFile = None) -> None:
    """List the presets of models and hardware with their figures, and all sparsity policies."""
    show(catalog(), json)
