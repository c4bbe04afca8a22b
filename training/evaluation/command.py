"""The command `warmcast evaluate`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnostics.evaluation.report import render_score_page
from storage.atomic import write_text
from storage.errors import ConfigurationError
from storage.lock import claim_output
from training.data.sources import load_data_for
from training.evaluation.run import EvaluationRun
from training.evaluation.settings import Evaluation
from training.evaluation.stability import StabilityTest
from training.evaluation.subject import load_subjects
from weather.periods import Period, read_periods
from weather.times import count_lead_times


def evaluate_checkpoint(
    *,
    checkpoint: str,
    checkpoint_folders: Sequence[Path],
    data: Sequence[str | Path],
    years: Sequence[Period | str],
    lead_time: str,
    score_at: Sequence[str],
    sampler: Mapping[str, Any],
    against: str | None,
    against_sampler: str | None,
    control: bool,
    natural_years: Sequence[Period | str] | None,
    stability: Mapping[str, Any] | None,
    batch_size: int | None,
    threads: int | None,
    output: Path,
    page: Path | None,
    report_progress: Callable[[int, int], None],
    report_cost: Callable[[float, int], None],
    **settings: Any,
) -> dict[str, Any]:
    """Evaluate a checkpoint, write the scores to `output` (JSON) and a report to `page` (HTML), and return the scores.

    `sampler` has the fields of `Sampling` to replace, `stability` those of `StabilityTest`, `settings` further ones of
    `Evaluation`. `report_cost` is called before the first start with an estimate of the remaining seconds and
    evaluations of networks, `report_progress` after each with the number of starts done and of all. Raises
    `ConfigurationError` if another process uses `output`.
    """
    if threads:
        torch.set_num_threads(threads)
    subject, other = load_subjects(checkpoint, checkpoint_folders, sampler, against, against_sampler)
    model, provenance = subject.manifest.model, subject.manifest.provenance
    context_frames = max(one.manifest.model.context_frames for one in (subject, other) if one)
    with load_data_for(model, data, context_frames=context_frames) as frames:
        frames.keep("auto", torch.device("cpu"))
        evaluation = Evaluation(
            years=read_periods(years, "years") or provenance.validation_years,
            lead_steps=select_lead_steps(lead_time, score_at, model.time_step),
            group_size=batch_size or min(settings["num_members"], 10),
            natural_years=None if natural_years is None else read_periods(natural_years, "natural_years"),
            **settings,
        )
        run = EvaluationRun(subject, other, frames, evaluation, control=control)
        if stability is not None:
            run.add_stability(StabilityTest(years=evaluation.years, seed=evaluation.seed, **stability))
        return _compute(run, output, page, report_progress, report_cost)


def _compute(
    run: EvaluationRun,
    output: Path,
    page: Path | None,
    report_progress: Callable[[int, int], None],
    report_cost: Callable[[float, int], None],
) -> dict[str, Any]:
    """Return the result of a run, and write it to `output` and `page`, whose folder is made before."""
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
    in_use = ConfigurationError(f"Another evaluation writes `{output}`. Wait for it, or choose another --output.")
    with claim_output(output.with_suffix(".records.jsonl"), in_use):
        result = run.compute(output, report_progress, report_cost)
        write_text(output, json.dumps(result, indent=1) + "\n")
    if page is not None:
        title = f"Evaluation of {result['checkpoint']}"
        write_text(page, render_score_page(title, result, run.evaluator.compute_example()))
    return result


def select_lead_steps(lead_time: str, score_at: Sequence[str], time_step: np.timedelta64) -> tuple[int, ...]:
    """Return the lead times to score, in time steps: those of `score_at`, by default all up to `lead_time`.

    Raises `ConfigurationError` for one that is no positive multiple of the time step, or longer than the forecast.
    """
    last = count_lead_times(lead_time, time_step)
    chosen = sorted({count_lead_times(text, time_step) for text in score_at})
    if chosen and chosen[-1] > last:
        raise ConfigurationError(
            f"`score_at` must be at most `lead_time`, {lead_time}. Got: {', '.join(score_at)}.", ("score_at",)
        )
    return tuple(chosen) or tuple(range(1, last + 1))
