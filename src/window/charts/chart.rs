//! One chart: lines of the visible runs over a shared horizontal axis.

use eframe::egui::{self, Align, Color32, Id, Layout, Rect, RichText, Stroke, Ui, Vec2b, vec2};
use egui_plot::{
    AxisHints, GridMark, HLine, Line, LineStyle, MarkerShape, Plot, PlotPoints, Points, VLine, uniform_grid_spacer,
};

use super::{
    metric::{Metric, TraceStyle, short},
    settings::ChartSettings,
};
use crate::{
    format,
    window::{
        data::{
            columns::{LARGEST, XAxis},
            run::RunView,
        },
        theme,
        widgets::{dot, name_button},
    },
};

/// A file that a person asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChartExport {
    /// The chart as an image: this part of the window.
    Image(Metric, Rect),
    /// The data of the chart.
    Csv(Metric),
}

/// Minimum distance of horizontal grid lines, in points; that of vertical ones is 2.5 times as much.
const MIN_SPACING: f32 = 24.0;
/// Distances, in points, at which labels begin to show and are fully opaque.
const LABELS: egui::Rangef = egui::Rangef { min: 12.0, max: 22.0 };

/// Draws `metric` of the visible runs into a card of `height` points.
pub fn chart(
    ui: &mut Ui,
    metric: Metric,
    runs: &[RunView],
    settings: &mut ChartSettings,
    height: f32,
) -> Option<ChartExport> {
    let card = theme::card(ui.visuals());
    let margins = card.total_margin().sum().y;
    let mut export = None;
    let shown = card.show(ui, |ui| {
        ui.set_min_height(height - margins);
        ui.set_max_height(height - margins);
        header(ui, metric, runs, settings, &mut export);
        body(ui, metric, runs, settings);
    });
    if let Some(ChartExport::Image(_, rect)) = &mut export {
        *rect = shown.response.rect;
    }
    export
}

fn header(
    ui: &mut Ui,
    metric: Metric,
    runs: &[RunView],
    settings: &mut ChartSettings,
    export: &mut Option<ChartExport>,
) {
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 18.0;
        ui.spacing_mut().button_padding = vec2(5.0, 1.0);
        ui.label(RichText::new(metric.title()).strong());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let menu = ui.menu_button(RichText::new("Save").small(), |ui| {
                if ui.button("Image (PNG)…").clicked() {
                    *export = Some(ChartExport::Image(metric, Rect::NOTHING));
                    ui.close();
                }
                if ui.button("Data (CSV)…").clicked() {
                    *export = Some(ChartExport::Csv(metric));
                    ui.close();
                }
            });
            name_button(&menu.response, &format!("Save the chart of {}", metric.title()));
            if metric != Metric::Accuracy {
                let log = settings.log.contains(&metric);
                let toggle = ui.selectable_label(log, RichText::new("log").small());
                name_button(&toggle, &format!("Logarithmic axis for {}", metric.title()));
                if toggle.on_hover_text("Logarithmic vertical axis").clicked() {
                    if log {
                        settings.log.remove(&metric);
                    } else {
                        settings.log.insert(metric);
                    }
                }
            }
            if metric == Metric::Loss {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| legend(ui, runs));
            }
        });
    });
}

/// The legend: the lines of one run, or the names of several runs; as many as there is space for.
fn legend(ui: &mut Ui, runs: &[RunView]) {
    let visible: Vec<&RunView> = runs.iter().filter(|run| run.visible).collect();
    let lines: Vec<(usize, &str)> = match visible[..] {
        [run] => vec![(run.color, "training"), (run.color + 1, "validation")],
        _ => visible.iter().map(|run| (run.color, run.name.as_str())).collect(),
    };
    ui.spacing_mut().item_spacing.x = 4.0;
    ui.add_space(10.0);
    for (color, name) in lines {
        if ui.available_width() < 60.0 {
            ui.small("…");
            return;
        }
        dot(ui, theme::run_color(ui.visuals(), color));
        ui.add(egui::Label::new(RichText::new(name).small()).truncate());
        ui.add_space(8.0);
    }
}

fn body(ui: &mut Ui, metric: Metric, runs: &[RunView], settings: &ChartSettings) {
    let visible: Vec<&RunView> = runs.iter().filter(|run| run.visible).collect();
    let (log, axis) = (settings.log.contains(&metric), settings.axis);
    let visuals = ui.visuals().clone();
    let scale = ui.ctx().pixels_per_point();
    let several = visible.len() > 1;
    let link = Id::unique("charts");
    // Linked charts share their horizontal range; each unit of the axis has a range of its own.
    let group = link.with(axis.label());
    let mut plot = Plot::new(("chart", metric.file_stem(), axis.label()))
        .id(Id::unique(("chart", metric.file_stem(), axis.label(), log)))
        .link_axis(group, Vec2b::new(true, false))
        .link_cursor(group, Vec2b::new(true, false))
        .allow_scroll(false)
        .label_formatter(|_| None)
        .show_background(false)
        .grid_color(visuals.widgets.noninteractive.bg_stroke.color)
        .grid_spacing(egui::Rangef::new(MIN_SPACING, 160.0))
        .x_grid_spacer(uniform_grid_spacer(|input| steps(2.5 * input.base_step_size)))
        .y_grid_spacer(uniform_grid_spacer(|input| steps(input.base_step_size)))
        .custom_x_axes(vec![
            AxisHints::new_x()
                .label_spacing(egui::Rangef::new(45.0, 90.0))
                .formatter(move |mark, _| x_label(axis, mark.value)),
        ])
        .custom_y_axes(vec![AxisHints::new_y().min_thickness(52.0).label_spacing(LABELS).formatter(
            move |mark: GridMark, _: &_| {
                if log { log_label(metric, mark) } else { metric.tick(mark.value, mark.step_size) }
            },
        )])
        .set_margin_fraction(vec2(0.01, 0.08));
    if settings.reset_zoom {
        plot = plot.reset();
    }
    let response = plot.show(ui, |plot| {
        let bounds = plot.plot_bounds();
        let auto = plot.auto_bounds();
        let pixels = (plot.response().rect.width() * scale) as usize;
        let (low, high) = if auto.x { (f64::NEG_INFINITY, f64::INFINITY) } else { (bounds.min()[0], bounds.max()[0]) };
        let clip = if settings.clip { clip_range(metric, &visible, settings, low, high) } else { None };
        let map = move |value: f64| {
            let value = value.clamp(-LARGEST, LARGEST);
            let value = clip.map_or(value, |(low, high)| value.clamp(low, high));
            if !log {
                Some(value)
            } else if value > 0.0 {
                Some(value.log10())
            } else {
                None
            }
        };
        for run in &visible {
            let color = theme::run_color(&visuals, run.color);
            for trace in metric.traces(run, settings.smoothing > 0.0) {
                let (from, to) = trace.positions.range(axis, low, high);
                let points = trace.series.line(trace.positions.by(axis), from, to, pixels, map);
                if points.is_empty() {
                    continue;
                }
                let color = match trace.style {
                    // With one run only, validation has a colour of its own.
                    TraceStyle::Points if !several => theme::run_color(&visuals, run.color + 1),
                    _ => color,
                };
                let label = if several { run.name.as_str() } else { trace.name };
                draw(plot, label, trace.name, points, trace.style, color);
            }
            if matches!(metric, Metric::Loss | Metric::GradNorm) {
                for &row in run.steps.not_finite.iter().take(200) {
                    let x = run.steps.positions.by(axis)[row];
                    plot.vline(
                        VLine::new("not finite", x)
                            .color(visuals.error_fg_color)
                            .style(LineStyle::dashed_dense())
                            .allow_hover(false),
                    );
                }
            }
        }
        let limit = visible.iter().filter_map(|run| run.started.as_ref()?.memory_limit_bytes).min();
        if let (Metric::Memory, Some(limit)) = (metric, limit) {
            // Far below the limit the line would only flatten the curve.
            let most = visible.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
            if limit < 8 * most
                && let Some(y) = map(limit as f64)
            {
                plot.hline(
                    HLine::new("limit of the device", y)
                        .color(visuals.warn_fg_color)
                        .style(LineStyle::dashed_loose())
                        .allow_hover(false),
                );
            }
        }
        zoom(plot, auto);
    });
    let described = describe(metric, &visible);
    response.response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, &described));
    if visible.iter().all(|run| metric.traces(run, false).iter().all(|trace| trace.positions.is_empty())) {
        let text = if visible.is_empty() { "no run is shown" } else { "no data yet" };
        ui.painter().text(
            response.response.rect.center(),
            egui::Align2::CENTER_CENTER,
            text,
            egui::TextStyle::Body.resolve(ui.style()),
            visuals.weak_text_color(),
        );
    } else if response.response.hovered()
        && let Some(pointer) = response.response.hover_pos()
    {
        let x = response.transform.value_from_position(pointer).x;
        tooltip(ui, &response.response, metric, &visible, settings, x);
    }
}

/// Scrolling zooms the horizontal axis around the pointer; the vertical axis then fits what is visible.
fn zoom(plot: &mut egui_plot::PlotUi<'_>, auto: Vec2b) {
    let (hovered, wheel) = (plot.response().hovered(), plot.ctx().input(|input| input.smooth_scroll_delta.y));
    if hovered && wheel != 0.0 {
        plot.zoom_bounds_around_hovered(vec2((wheel / 200.0).exp(), 1.0));
        plot.set_auto_bounds(Vec2b::new(false, auto.y));
    }
}

fn draw(
    plot: &mut egui_plot::PlotUi<'_>,
    label: &str,
    id: &str,
    points: Vec<[f64; 2]>,
    style: TraceStyle,
    color: Color32,
) {
    let id = Id::unique((label, id));
    let line = |points: Vec<[f64; 2]>| Line::new(label, PlotPoints::from(points)).id(id).allow_hover(false);
    match style {
        TraceStyle::Faint => plot.line(line(points).stroke(Stroke::new(1.0, color.gamma_multiply(0.3)))),
        TraceStyle::Primary if points.len() == 1 => {
            plot.points(Points::new(label, points).id(id).radius(3.0).color(color).allow_hover(false));
        }
        TraceStyle::Primary => plot.line(line(points).stroke(Stroke::new(2.0, color))),
        TraceStyle::Secondary => plot.line(line(points).stroke(Stroke::new(1.2, color.gamma_multiply(0.55)))),
        TraceStyle::Points => {
            plot.line(
                line(points.clone())
                    .stroke(Stroke::new(1.2, color.gamma_multiply(0.8)))
                    .style(LineStyle::dotted_dense()),
            );
            plot.points(
                Points::new(label, points)
                    .id(id.with("marks"))
                    .radius(3.2)
                    .shape(MarkerShape::Circle)
                    .filled(true)
                    .color(color)
                    .allow_hover(false),
            );
        }
    }
}

/// The range that holds nearly all visible values; `None` where there are too few values to tell.
///
/// Values outside are drawn at the edge. Validation points are never clipped.
fn clip_range(metric: Metric, runs: &[&RunView], settings: &ChartSettings, low: f64, high: f64) -> Option<(f64, f64)> {
    /// Values of each line that are looked at.
    const SAMPLES: usize = 1000;
    let (mut seen, mut kept) = (Vec::new(), Vec::new());
    for run in runs {
        for trace in metric.traces(run, settings.smoothing > 0.0) {
            let (from, to) = trace.positions.range(settings.axis, low, high);
            let values = &trace.series.values()[from..to.min(trace.series.values().len())];
            let target = if trace.style == TraceStyle::Points { &mut kept } else { &mut seen };
            target.extend(values.iter().step_by(values.len() / SAMPLES + 1).copied().filter(|value| value.is_finite()));
        }
    }
    if seen.len() < 20 {
        return None;
    }
    seen.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| seen[((seen.len() - 1) as f64 * share) as usize];
    let (bottom, top) = (at(0.02), at(0.98));
    let margin = 0.25 * (top - bottom).max(1e-12 * top.abs());
    let (bottom, top) = (bottom - margin, top + margin);
    let (bottom, top) = (bottom.max(seen[0]), top.min(seen[seen.len() - 1]));
    Some((kept.iter().copied().fold(bottom, f64::min), kept.iter().copied().fold(top, f64::max)))
}

/// Distances of grid lines: the smallest of 1, 2, 5, 10, ... that is at least `least`, and ten and a hundred times that.
fn steps(least: f64) -> [f64; 3] {
    if !(least.is_normal() && least > 0.0) {
        return [1.0, 10.0, 100.0];
    }
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power);
    [step, 10.0 * step, 100.0 * step]
}

/// The label of a position on the horizontal axis.
fn x_label(axis: XAxis, value: f64) -> String {
    match axis {
        _ if value < 0.0 => String::new(),
        XAxis::Step | XAxis::Tokens => short(value),
        XAxis::Time => format::seconds(value),
    }
}

/// The label of a mark on a logarithmic axis: powers of ten, and values between where there are few of them.
fn log_label(metric: Metric, mark: GridMark) -> String {
    let value = 10f64.powf(mark.value);
    if mark.step_size >= 1.0 && value < 0.01 { format!("{value:.0e}") } else { metric.tick(value, value / 10.0) }
}

/// The exact values at the pointer.
fn tooltip(ui: &Ui, response: &egui::Response, metric: Metric, runs: &[&RunView], settings: &ChartSettings, x: f64) {
    let tip = egui::Tooltip::always_open(
        ui.ctx().clone(),
        ui.layer_id(),
        response.id.with("values"),
        egui::PopupAnchor::Pointer,
    );
    tip.gap(14.0).show(|ui| {
        for (at, run) in runs.iter().enumerate() {
            if at == 12 {
                ui.weak(format!("and {} more", runs.len() - at));
                break;
            }
            let positions =
                if run.steps.positions.is_empty() { &run.evaluations.positions } else { &run.steps.positions };
            let Some(row) = positions.nearest(settings.axis, x) else { continue };
            let value = |axis| positions.by(axis)[row];
            ui.horizontal(|ui| {
                dot(ui, theme::run_color(ui.visuals(), run.color));
                ui.strong(&run.name);
                ui.weak(format!(
                    "step {}, {} tokens, {}",
                    format::count(value(XAxis::Step) as usize),
                    short(value(XAxis::Tokens)),
                    format::seconds(value(XAxis::Time))
                ));
            });
            for trace in metric.traces(run, settings.smoothing > 0.0) {
                let Some(row) = trace.positions.nearest(settings.axis, x) else { continue };
                let Some(&value) = trace.series.values().get(row) else { continue };
                let text = if value.is_finite() { metric.value(value) } else { "—".into() };
                let at = match trace.style {
                    TraceStyle::Points => format!(" at step {}", trace.positions.by(XAxis::Step)[row]),
                    _ => String::new(),
                };
                ui.label(format!("{}{at}: {text}", trace.name));
            }
        }
    });
}

/// A description of the chart for screen readers.
fn describe(metric: Metric, runs: &[&RunView]) -> String {
    let mut text = format!("Chart of {}", metric.title().to_lowercase());
    for run in runs.iter().take(5) {
        for trace in metric.traces(run, false) {
            if let Some(last) = trace.series.values().iter().rfind(|value| value.is_finite()) {
                text += &format!("; {}, {}: {}", run.name, trace.name, metric.value(*last));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Metrics};

    #[test]
    fn grid_lines_are_at_round_numbers() {
        assert_eq!(steps(0.3)[0], 0.5);
        assert_eq!(steps(1.0)[0], 1.0);
        assert!((steps(70.0)[0] - 100.0).abs() < 1e-9);
        assert_eq!(steps(1.1e-4)[0], 2e-4);
        assert_eq!([steps(0.0), steps(f64::NAN)], [[1.0, 10.0, 100.0]; 2]);
    }

    #[test]
    fn clipping_leaves_out_a_spike_but_no_validation_point() {
        let mut run = RunView::new("runs/a".into(), 0);
        for step in 1..=1000u64 {
            let loss = if step == 500 { 1e6 } else { 2.0 + (step as f64 * 0.37).sin() };
            run.apply(&Event::Step(Metrics { step, loss: Some(loss), ..Metrics::default() }));
        }
        let metrics = Metrics { step: 1000, eval_loss: Some(7.0), ..Metrics::default() };
        run.apply(&Event::Evaluated { metrics, perplexity: 7f64.exp(), best: false });
        let settings = ChartSettings { smoothing: 0.0, ..ChartSettings::default() };
        let (low, high) =
            clip_range(Metric::Loss, &[&run], &settings, f64::NEG_INFINITY, f64::INFINITY).expect("a range");
        assert!((0.9..1.1).contains(&low) && high == 7.0, "{low} to {high}");
    }
}
