//! How the data was understood, with the target tokens of the first row highlighted.

use eframe::egui::{Frame, Label, Margin, RichText, TextFormat, Ui, text::LayoutJob};

use crate::{
    event::DataReport,
    format::{count, percent},
    window::{data::run::RunView, theme, widgets::name_value_table},
};

/// Draws the report.
pub fn data(ui: &mut Ui, run: &RunView) {
    let Some(report) = &run.data else {
        ui.weak("The data has not been read yet.");
        return;
    };
    let splits =
        [("Training", Some(&report.train)), ("Validation", report.valid.as_ref()), ("Test", report.test.as_ref())];
    for (title, split) in splits.into_iter().filter_map(|(title, split)| Some((title, split?))) {
        ui.strong(title);
        let mut lines = vec![("File", split.file.clone()), ("Format", split.format.clone())];
        if let Some(documents) = split.documents {
            lines.push(("Documents", count(documents)));
        }
        lines.push(("Rows", count(split.rows)));
        lines.push(("Tokens", count(split.tokens)));
        if split.classes.is_empty() {
            lines.push(("Trained on", format!("{} ({})", count(split.target_tokens), percent(split.target_share()))));
        }
        lines.push(("Longest row", format!("{} tokens", count(split.longest_row))));
        let warn = |number: usize, text: String| (number > 0).then_some(text);
        let faults = [
            warn(
                split.cut_rows,
                format!("{} rows longer than {} tokens were cut", count(split.cut_rows), count(split.max_seq_length)),
            ),
            warn(
                split.unknown_tokens,
                format!("{} tokens stand for text that the tokenizer does not know", count(split.unknown_tokens)),
            ),
            warn(split.skipped_rows, format!("{} rows could not be used", count(split.skipped_rows))),
        ];
        lines.extend(
            split.classes.iter().take(30).map(|class| (&class.name[..], format!("{} rows", count(class.rows)))),
        );
        name_value_table(ui, ("split", title), lines);
        for fault in faults.into_iter().flatten() {
            ui.colored_label(ui.visuals().warn_fg_color, fault);
        }
        for reason in &split.skipped_reasons {
            ui.small(reason);
        }
        ui.add_space(8.0);
    }
    for note in &report.notes {
        ui.add(Label::new(note).wrap());
    }
    example(ui, report);
}

fn example(ui: &mut Ui, report: &DataReport) {
    ui.strong("First row");
    match &report.example_class {
        Some(class) => ui.label(format!("Its class is {class}.")),
        None => ui.label(RichText::new("The tokens it is trained on are highlighted.").weak()),
    };
    let frame = Frame::new().fill(ui.visuals().extreme_bg_color).corner_radius(6).inner_margin(Margin::same(8));
    frame.show(ui, |ui| {
        let font = eframe::egui::TextStyle::Monospace.resolve(ui.style());
        let mut job = LayoutJob::default();
        let mut chars_left = 4000;
        for piece in &report.example {
            let text: String = piece.text.chars().take(chars_left).collect();
            chars_left -= text.chars().count();
            let mut format = TextFormat::simple(font.clone(), ui.visuals().weak_text_color());
            if piece.is_target {
                format.color = ui.visuals().strong_text_color();
                format.background = theme::accent(ui.visuals()).gamma_multiply(0.3);
            }
            job.append(&text, 0.0, format);
        }
        if chars_left == 0 {
            job.append(" …", 0.0, TextFormat::simple(font, ui.visuals().weak_text_color()));
        }
        ui.set_width(ui.available_width());
        ui.add(Label::new(job).wrap().selectable(true));
    });
}
