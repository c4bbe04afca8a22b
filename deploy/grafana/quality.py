"""Dashboard for users of forecasts: scores against a truth, and diagnostics that need none."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from panels import Panel, Row, build_dashboard

_ENSEMBLE = '{model=~"$model", variable=~"$variable", lead_hours=~"$lead_hours"}'
_SCORED = '{model=~"$model", variable=~"$variable", lead_hours=~"$lead_hours", reference=~"$reference"}'
_FAIR = _SCORED.replace("}", ', estimator="fair"}')
_LEGEND = "{{variable}} {{lead_hours}} h"
_BY = "by (model, variable, lead_hours, reference)"
_SPREAD = f"max by (model, variable, lead_hours) (warmcast_spread{_ENSEMBLE})"


def quality() -> Dashboard:
    """Return the dashboard of forecast quality."""
    return build_dashboard(
        "warmcast-quality",
        "Warmcast: forecast quality",
        "The latest verification against each reference, and diagnostics of the latest ensembles.",
        [
            ("model", "label_values(warmcast_spread, model)"),
            ("variable", "label_values(warmcast_spread, variable)"),
            ("lead_hours", "label_values(warmcast_spread, lead_hours)"),
            ("reference", "label_values(warmcast_crps, reference)"),
        ],
        [Row("Scores against the truth", _scores()), Row("Diagnostics without a truth", _diagnostics())],
    )


def _scores() -> list[Panel]:
    errors = {
        f"RMSE, {_LEGEND}": f"max {_BY} (warmcast_rmse{_SCORED})",
        f"spread, {_LEGEND}": _SPREAD,
    }
    crps = f"max {_BY} (warmcast_crps{_FAIR})"
    ratio = f"max {_BY} (warmcast_spread_skill_ratio{_SCORED})"
    ranks = f"avg by (bin) (warmcast_rank_share{_SCORED})"
    return [
        Panel(
            "CRPS",
            "Fair continuous ranked probability score; smaller is better.",
            "velocityms",
            {_LEGEND + " against {{reference}}": crps},
        ),
        Panel(
            "Error and spread",
            "RMSE of the ensemble mean, and spread; they are equal for a reliable ensemble.",
            "velocityms",
            errors,
        ),
        Panel(
            "Spread divided by error",
            "1 for a reliable ensemble; below 1 the ensemble is overconfident.",
            "none",
            {_LEGEND: ratio},
            bad_below=0.6,
            bad_above=1.6,
        ),
        Panel(
            "Rank histogram",
            "Fraction of the truth in each rank among the members, over all lead times; flat for a reliable ensemble.",
            "percentunit",
            {"{{bin}}": ranks},
            "bars",
        ),
    ]


def _diagnostics() -> list[Panel]:
    power = f"avg by (band, lead_hours) (warmcast_spectrum_log_ratio{_ENSEMBLE})"
    lost = 'sum by (model) (increase(warmcast_member_nonfinite_total{model=~"$model"}[1d]))'
    return [
        Panel(
            "Power by scale",
            "Logarithm (base 10) of the members' power over that of the initial state; negative values mean blurring.",
            "none",
            {"{{band}} {{lead_hours}} h": power},
            bad_below=-0.7,
            bad_above=0.7,
        ),
        Panel("Spread", "Spread of the latest ensembles.", "velocityms", {_LEGEND: _SPREAD}),
        Panel(
            "Lost members",
            "Members of forecasts of the last day that are not finite everywhere.",
            "short",
            {"{{model}}": lost},
            bad_above=1,
        ),
    ]
