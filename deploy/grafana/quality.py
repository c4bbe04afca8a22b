"""The dashboard of those who use the forecasts: scores against what came, and what ensembles look like without it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panel, Row, built

_ENSEMBLE = '{model=~"$model", variable=~"$variable", lead_hours=~"$lead_hours"}'
_SCORED = '{model=~"$model", variable=~"$variable", lead_hours=~"$lead_hours", reference=~"$reference"}'
_FAIR = _SCORED.replace("}", ', estimator="fair"}')
_LEGEND = "{{variable}} {{lead_hours}} h"
_BY = "by (model, variable, lead_hours, reference)"


def quality() -> Dashboard:
    """Return the dashboard."""
    return built(
        "warmcast-quality",
        "Warmcast: forecast quality",
        "The newest verification against each reference, and diagnostics of the newest ensembles.",
        [
            ("model", "label_values(warmcast_spread, model)"),
            ("variable", "label_values(warmcast_spread, variable)"),
            ("lead_hours", "label_values(warmcast_spread, lead_hours)"),
            ("reference", "label_values(warmcast_crps, reference)"),
        ],
        [Row("Against what came", _scores()), Row("Without it", _ensembles())],
    )


def _scores() -> list[Panel]:
    return [
        Panel(
            "CRPS", "Continuous ranked probability score, fair; smaller is better.", "velocityms",
            [(f"max {_BY} (warmcast_crps{_FAIR})", _LEGEND + " against {{reference}}")],
        ),
        Panel(
            "Error of the mean, and spread", "A reliable ensemble's spread is as large as the error of its mean.",
            "velocityms",
            [
                (f"max {_BY} (warmcast_rmse{_SCORED})", "RMSE, " + _LEGEND),
                (f"max by (model, variable, lead_hours) (warmcast_spread{_ENSEMBLE})", "spread, " + _LEGEND),
            ],
        ),
        Panel(
            "Spread over error", "1 is reliable; below it the ensemble is too sure.", "none",
            [(f"max {_BY} (warmcast_spread_skill_ratio{_SCORED})", _LEGEND)], bad_below=0.6, bad_above=1.6,
        ),
        Panel(
            "Rank histogram", "Share of the truth in each rank among the members, over lead times; flat is reliable.",
            "percentunit", [(f"avg by (bin) (warmcast_rank_share{_SCORED})", "{{bin}}")], "bars",
        ),
    ]  # fmt: skip


def _ensembles() -> list[Panel]:
    ratio = "warmcast_spectrum_log_ratio"
    return [
        Panel(
            "Power by scale", "Logarithm (base 10) of members' power over the initial state's; below 0 they blur.",
            "none", [(f"avg by (band, lead_hours) ({ratio}{_ENSEMBLE})", "{{band}} {{lead_hours}} h")],
            bad_below=-0.7, bad_above=0.7,
        ),
        Panel(
            "Spread", "Spread of the newest ensembles.", "velocityms",
            [(f"max by (model, variable, lead_hours) (warmcast_spread{_ENSEMBLE})", _LEGEND)],
        ),
        Panel(
            "Members lost", "Members of the last day's forecasts that are not finite everywhere.", "short",
            [('sum by (model) (increase(warmcast_member_nonfinite_total{model=~"$model"}[1d]))', "{{model}}")],
            bad_above=1,
        ),
    ]  # fmt: skip
