//! Charts as files: the image as the window shows it, and the data behind it.

use eframe::egui::{ColorImage, Rect};

use super::metric::Metric;
use crate::{
    Error, Result,
    window::data::{columns::XAxis, run::RunView},
};

/// The part `rect` (in points) of a screenshot of the window, as PNG.
///
/// # Errors
/// The part lies outside the window, or the image cannot be encoded.
pub fn png(window: &ColorImage, rect: Rect, pixels_per_point: f32) -> Result<Vec<u8>> {
    let [width, height] = window.size;
    let edge = |points: f32, most: usize| ((points * pixels_per_point).round().max(0.0) as usize).min(most);
    let (left, right) = (edge(rect.left(), width), edge(rect.right(), width));
    let (top, bottom) = (edge(rect.top(), height), edge(rect.bottom(), height));
    if left >= right || top >= bottom {
        return Err(Error::input("the chart is outside the window; scroll to it and try again"));
    }
    let mut bytes = Vec::with_capacity(4 * (right - left) * (bottom - top));
    for row in top..bottom {
        for pixel in &window.pixels[row * width + left..row * width + right] {
            // An image is opaque: what lies behind the window is no part of it.
            bytes.extend([pixel.r(), pixel.g(), pixel.b(), 255]);
        }
    }
    let cropped = image::RgbaImage::from_raw((right - left) as u32, (bottom - top) as u32, bytes);
    let cropped = cropped.ok_or_else(|| Error::Run("the image has no pixels".into()))?;
    let mut encoded = std::io::Cursor::new(Vec::new());
    let written = cropped.write_to(&mut encoded, image::ImageFormat::Png);
    written.map_err(|e| Error::Run(format!("the image cannot be encoded: {e}")))?;
    Ok(encoded.into_inner())
}

/// The values of `metric` of the visible runs: one row a value, in the order run, line, step.
pub fn csv(metric: Metric, runs: &[RunView]) -> String {
    let mut text = String::from("run,line,step,tokens,elapsed_secs,value\n");
    for run in runs.iter().filter(|run| run.visible) {
        for trace in metric.traces(run, false) {
            let positions = |axis| trace.positions.by(axis);
            let (steps, tokens, secs) = (positions(XAxis::Step), positions(XAxis::Tokens), positions(XAxis::Time));
            for (row, value) in trace.series.values().iter().enumerate() {
                let (name, line) = (csv_field(&run.name), trace.name);
                text += &format!("{name},{line},{},{},{},{value}\n", steps[row], tokens[row], secs[row]);
            }
        }
    }
    text
}

/// A field of CSV (RFC 4180).
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Color32, pos2};

    use super::*;
    use crate::event::{Event, Metrics};

    #[test]
    fn an_image_is_the_part_that_was_asked_for() {
        let mut window = ColorImage::filled([40, 20], Color32::BLACK);
        window.pixels[10 * 40 + 20] = Color32::from_rgb(1, 2, 3);
        let bytes = png(&window, Rect::from_min_max(pos2(5.0, 2.5), pos2(15.0, 7.5)), 2.0).expect("an image");
        let picture = image::load_from_memory(&bytes).expect("a PNG").to_rgba8();
        assert_eq!(picture.dimensions(), (20, 10));
        assert_eq!(picture.get_pixel(10, 5).0, [1, 2, 3, 255]);
        assert!(png(&window, Rect::from_min_max(pos2(50.0, 0.0), pos2(60.0, 5.0)), 1.0).is_err());
    }

    #[test]
    fn values_come_with_their_run_and_position() {
        let mut run = RunView::new("runs/a, b".into(), 0);
        run.apply(&Event::Step(Metrics {
            step: 3,
            loss: Some(1.5),
            tokens: 30,
            elapsed_secs: 0.5,
            ..Metrics::default()
        }));
        let metrics = Metrics { step: 3, eval_loss: Some(2.5), tokens: 30, elapsed_secs: 0.5, ..Metrics::default() };
        run.apply(&Event::Evaluated { metrics, perplexity: 1.0, best: true });
        let text = csv(Metric::Loss, &[run]);
        assert_eq!(text.lines().nth(1), Some("\"a, b\",training,3,30,0.5,1.5"));
        assert_eq!(text.lines().nth(2), Some("\"a, b\",validation,3,30,0.5,2.5"));
    }
}
