"""Panels, rows and variables of a dashboard, translated to Grafana's builders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """One panel: PromQL expressions by legend, and its size; a dashboard is 24 columns wide.

    Values below `bad_below` and above `bad_above` are drawn in red.
    """

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    kind: Literal["timeseries", "stat", "bars"] = "timeseries"
    width: int = 12
    height: int = 8
    bad_below: float | None = None
    bad_above: float | None = None

    @classmethod
    def stat(
        cls,
        title: str,
        description: str,
        legend: str,
        query: str,
        unit: str = "short",
        *,
        bad_below: float | None = None,
        bad_above: float | None = None,
    ) -> Self:
        """Return a small panel that shows the latest value of one expression."""
        return cls(title, description, unit, {legend: query}, "stat", 4, 4, bad_below, bad_above)


@dataclass(frozen=True)
class Row:
    """A row of panels with a title."""

    title: str
    panels: Sequence[Panel]


def build_dashboard(
    uid: str, title: str, description: str, variables: Sequence[tuple[str, str]], rows: Sequence[Row]
) -> dashboard.Dashboard:
    """Return a dashboard with `rows`, laid out from top to bottom.

    Each of `variables` is the name of a dashboard variable and the `label_values` query for its choices.
    """
    result = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["warmcast"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("utc")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, query in variables:
        result.with_variable(_variable(name, query))
    number, top = 1, 0
    for row in rows:
        result.with_row(dashboard.Row(row.title).id(number).grid_pos(GridPos(h=1, w=_COLUMNS, x=0, y=top)))
        number, top, left = number + 1, top + 1, 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + panel.height
            position = GridPos(h=panel.height, w=panel.width, x=left, y=top)
            result.with_panel(_panel(panel).id(number).grid_pos(position))
            number, left = number + 1, left + panel.width
        top += max(panel.height for panel in row.panels)
    return result


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    """Return a variable that accepts several values, all by default."""
    return (
        dashboard.QueryVariable(name)
        .label(name.replace("_", " ").capitalize())
        .query(query)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel | bargauge.Panel:
    """Return Grafana's builder of a panel, without its position."""
    if panel.kind == "stat":
        result: timeseries.Panel | stat.Panel | bargauge.Panel = stat.Panel()
    elif panel.kind == "bars":
        result = bargauge.Panel().display_mode(BarGaugeDisplayMode.BASIC).orientation(VizOrientation.VERTICAL)
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
        result = timeseries.Panel().legend(legend.show_legend(True)).tooltip(tooltip).line_width(2).fill_opacity(8)
    result.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    for index, (legend_format, expression) in enumerate(panel.queries.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(legend_format).ref_id(chr(ord("A") + index))
        query.datasource(SOURCE)
        result.with_target(query.instant() if panel.kind == "bars" else query.range())
    return result.thresholds(_thresholds(panel))


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Return the values at which a panel's colour changes between green and red."""
    steps = [Threshold(value=None, color="red" if panel.bad_below is not None else "green")]
    if panel.bad_below is not None:
        steps.append(Threshold(value=panel.bad_below, color="green"))
    if panel.bad_above is not None:
        steps.append(Threshold(value=panel.bad_above, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
