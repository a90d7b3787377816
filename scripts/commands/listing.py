"""``deltamoe list``: the presets and the policies."""

from deltamoe.api.catalog import catalog
from deltamoe.cli import JsonFile, app, command, show
from deltamoe.host.outputs import check_outputs


@app.command("list")
@command
def listing(json: JsonFile = None) -> None:
    """List the presets of models and hardware with their figures, and all sparsity policies."""
    check_outputs(json=json)
    show(catalog(), json)
