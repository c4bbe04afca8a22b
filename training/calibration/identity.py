"""What a file of a calibration names its checkpoint by."""

from weather.manifest import WHITE, Manifest


def unfitted_digest(manifest: Manifest) -> str:
    """Return the digest of a checkpoint with white noise, and without what its colour and damping were fitted on."""
    model = manifest.model
    fitted = {"colour": model.colour, "damping": model.damping}
    unfitted = {name: part and part.model_copy(update={"fitted_on": None}) for name, part in fitted.items()}
    return manifest.model_copy(update={"noise": WHITE, "model": model.model_copy(update=unfitted)}).digest
