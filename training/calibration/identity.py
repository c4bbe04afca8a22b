"""What a file of a calibration names its checkpoint by."""

from weather.manifest import FITTED, WHITE, Manifest


def digest_without_noise(manifest: Manifest) -> str:
    """Return the digest of a checkpoint with white noise, and without what its colour and damping were fitted on."""
    model = manifest.model
    fitted = {name: getattr(model, name) for name in FITTED}
    without = {name: part and part.model_copy(update={"fitted_on": None}) for name, part in fitted.items()}
    return manifest.model_copy(update={"noise": WHITE, "model": model.model_copy(update=without)}).digest
