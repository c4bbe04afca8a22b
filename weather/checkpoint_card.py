"""The card of a checkpoint that has none of its own: what its manifest says, in Markdown."""

from weather.manifest import Manifest, ModelSpec, Provenance
from weather.periods import format_periods


def render_card(manifest: Manifest, license_text: str | None) -> str:
    """Return the card of a checkpoint in Markdown; `license_text` is that of its LICENSE file, if it has one."""
    spec, made, sampling = manifest.model, manifest.provenance, manifest.sampling
    grid, noise = spec.grid.grid, manifest.noise.describe()
    variables = "; ".join(f"{known.long_name} (`{known.name}`, {known.units})" for known in spec.known_variables)
    trained, validated = format_periods(made.train_years), format_periods(made.validation_years)
    years = f"Training years: {trained}; validation years: {validated}"
    steps = f"{made.warm_start_steps:,} steps of the warm start and {made.flow_steps:,} of the flow"
    attributions = [made.attribution, *([made.started_from.attribution] if made.started_from else [])]
    unpack = "`warmcast checkpoint import ARCHIVE --into FOLDER`"
    forecast = f"`warmcast forecast --checkpoints FOLDER --checkpoint {manifest.name} --initial-state FILE FILE`"
    sections = {
        "What it is": f"A warm-start model and a flow-matching model for {variables}, {spec.time_step_hours} hours a "
        f"step, on a grid of {grid} points, {360 / grid.shape[1]:g}° of longitude apart. {_describe_inputs(spec)}.",
        "What it was trained on": f"{made.data}. {years}.{_describe_start(made)}",
        "Attribution": " ".join(dict.fromkeys(attributions)),
        "How it was trained": f"{steps} in {made.training_hours:g} hours, with Warmcast {made.code_version}."
        + "".join(
            f" Weights kept of {kept.stage}: those after step {kept.step:,}, with {kept.score} {kept.value:.4g}."
            for kept in made.selections
        ),
        "How it is sampled": f"{sampling.solver} solver, NFE {sampling.nfe}, warmth {sampling.warmth:g} by default. "
        f"Each time step takes {sampling.network_evaluations} network evaluations a member, that of the warm start "
        "included.",
        "Noise": f"{noise[0].upper()}{noise[1:]}.",
        **({} if spec.colour is None else {"Colour": f"{spec.colour.describe()}."}),
        **({} if spec.damping is None else {"Damping": f"{spec.damping.describe()}."}),
        "How to use it": f"{unpack}, then {forecast}.",
        "Licence": "See LICENSE." if license_text else "None is stated; ask its author before you use it.",
        "Identity": f"SHA-256 {manifest.digest}",
    }
    paragraphs = [f"**{title}.** {text}" for title, text in sections.items()]
    return "\n\n".join([f"# Model card: {manifest.name}", *paragraphs]) + "\n"


def _describe_start(made: Provenance) -> str:
    """Return a sentence on the checkpoint that the training started from, if there is one."""
    start = made.started_from
    if start is None:
        return ""
    years = format_periods(start.train_years)
    return f" It started from the weights of {start.name}, SHA-256 {start.digest}, trained on {start.data}, {years}."


def _describe_inputs(spec: ModelSpec) -> str:
    fixed, dated = ", ".join(spec.static_fields) or "none", ", ".join(spec.features) or "none"
    return f"Static fields: {fixed}; features of date and position: {dated}."
